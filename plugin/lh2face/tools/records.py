"""``lh2face records``: aligned faces of any source as the RecordIO files training reads."""

from pathlib import Path

import cv2
import numpy as np

from lh2face.artifacts.outputs import atomic_dir, write_rows
from lh2face.data.recordio import RecordWriter
from lh2face.data.sources import SOURCES, SourceError
from lh2face.progress import track


def run(source: str, path: Path, out: Path) -> None:
    """Write ``train.rec``, ``train.idx``, ``property``, ``identities.csv`` and ``failures.csv``.

    Records are numbered from 0 without a record of counts, so that any number of images is exact;
    arcface_torch reads that too. Images that cannot be decoded are left out and listed.

    Args:
        source: A key of ``SOURCES``.
        path: The file or folder it reads.
        out: Folder to write.

    Raises:
        SourceError: As the source; or if no image can be decoded, or sizes differ.
    """
    identities: dict[str, int] = {}
    failures: list[tuple[str, str]] = []
    shape, key = None, 0
    with atomic_dir(out, [path]) as folder:
        with RecordWriter(folder / "train.rec") as writer:
            for face in track(SOURCES[source](path), "images"):
                pixels = np.frombuffer(face.encoded, np.uint8)
                image = cv2.imdecode(pixels, cv2.IMREAD_COLOR) if pixels.size else None
                if image is None:
                    failures.append((face.where, "not an image OpenCV can decode"))
                    continue
                shape = shape or image.shape[:2]
                if image.shape[:2] != shape:
                    raise SourceError(
                        f"{face.where}: {image.shape[:2]} px after images of {shape}: not aligned"
                    )
                identity = identities.setdefault(face.identity, len(identities))
                writer.write(key, face.encoded, identity)
                key += 1
        if shape is None:
            raise SourceError(f"{path}: no image in it can be decoded ({len(failures)} tried)")
        height, width = shape
        (folder / "property").write_text(f"{len(identities)},{height},{width}\n")
        write_rows(folder / "identities.csv", ("identity", "class"), identities.items())
        write_rows(folder / "failures.csv", ("file", "reason"), failures)
    if failures:
        print(f"{path}: left out {len(failures)} images, listed in {out / 'failures.csv'}")
