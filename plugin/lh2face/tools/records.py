"""``lh2face records``: aligned faces of any source as the RecordIO files training reads."""

from collections import Counter
from pathlib import Path

from lh2face.artifacts.outputs import atomic_dir
from lh2face.data.csv_files import write_rows
from lh2face.data.images import ImageError, decode_rgb
from lh2face.data.recordio import RecordWriter
from lh2face.data.sources import SOURCES, Face, LeftOut, SourceError
from lh2face.progress import track


def run(source: str, path: Path, out: Path) -> None:
    """Write ``train.rec``, ``train.idx``, ``property``, ``identities.csv`` and ``failures.csv``.

    Records are numbered from 0 without a record of counts, so that any number of images is exact;
    arcface_torch reads that too. What cannot be used is left out and listed, as is an image of
    another size than the first one.

    Args:
        source: A key of ``SOURCES``.
        path: The file or folder it reads.
        out: Folder to write.

    Raises:
        SourceError: As the source; or if no image can be used, or more images have another size
            than have that of the first one.
    """
    identities: dict[str, int] = {}
    failures: list[tuple[str, str]] = []
    # Images of each size (height, width); the size of the first image comes first.
    sizes: Counter[tuple[int, int]] = Counter()
    first = ""
    with atomic_dir(out, [path]) as folder:
        with RecordWriter(folder / "train.rec") as writer:
            for face in track(SOURCES[source](path), "images"):
                try:
                    size = size_of(face)
                except ImageError as error:
                    failures.append((face.where, error.reason))
                    continue
                first = first or face.where
                sizes[size] += 1
                if size != next(iter(sizes)):
                    reason = f"{in_px(size)}, not {in_px(next(iter(sizes)))} as the first image"
                    failures.append((face.where, reason))
                    continue
                identity = identities.setdefault(face.identity, len(identities))
                writer.write(sizes[size] - 1, face.encoded, identity)
        if not sizes:
            example = "; the first: {}: {}".format(*failures[0]) if failures else ""
            raise SourceError(
                f"{path}: no image in it can be used ({len(failures)} tried{example})"
            )
        (size, count), *_ = sizes.items()
        (usual, most), *_ = sizes.most_common()
        if usual != size:
            raise SourceError(
                f"{first}: the first image has {in_px(size)}, as have {count} images; {most} have "
                f"{in_px(usual)}: leave it out, or bring all to one size"
            )
        (folder / "property").write_text(f"{len(identities)},{size[0]},{size[1]}\n", "utf-8")
        write_rows(folder / "identities.csv", ("identity", "class"), identities.items())
        write_rows(folder / "failures.csv", ("file", "reason"), failures)
    if failures:
        print(f"{path}: left out {len(failures)} images, listed in {out / 'failures.csv'}")


def size_of(face: Face | LeftOut) -> tuple[int, int]:
    """Height and width of an image, px.

    Raises:
        ImageError: If it cannot be used.
    """
    if isinstance(face, LeftOut):
        raise ImageError(face.where, face.reason)
    return decode_rgb(face.encoded, None, face.where).shape[:2]


def in_px(size: tuple[int, int]) -> str:
    """Height and width as people write sizes."""
    return f"{size[1]} × {size[0]} px"
