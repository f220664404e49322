"""Conversion of aligned faces from any source to the RecordIO files that training reads."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lh2face.data.images import ImageError, decoded_size
from lh2face.data.parallel import in_order
from lh2face.data.recordio import RecordWriter
from lh2face.data.sources import Face, LeftOut, SourceError
from lh2face.files.tables import write_rows
from lh2face.progress import track


class Converted(NamedTuple):
    """Numbers of images and identities written, and of images that could not be used."""

    images: int
    identities: int
    left_out: int


def write_records(
    faces: Iterable[Face | LeftOut], path: Path, out: Path, workers: int = 1
) -> Converted:
    """Write ``train.rec``, ``train.idx``, ``property``, ``identities.csv`` and ``failures.csv``.

    The records are numbered from 0, and there is no record of counts: its float32 numbers are not
    exact above 2²⁴. arcface_torch reads such files too. The encoded images are copied unchanged.
    ``failures.csv`` lists the images that are left out: those that cannot be used, and those whose
    size differs from the first one's.

    Args:
        faces: Faces from a function of :mod:`lh2face.data.sources`.
        path: The file or folder that they come from, for messages.
        out: An existing folder to write to.
        workers: Number of threads that decode the images to check them.

    Raises:
        SourceError: If the source raises it, no image can be used, the first image is not square,
            or another size is more frequent than the first image's.
    """
    identities: dict[str, int] = {}
    failures: list[tuple[str, str]] = []
    # Number of images of each size (height, width); the first image's size comes first.
    sizes: Counter[tuple[int, int]] = Counter()
    first = ""
    with RecordWriter(out / "train.rec") as writer:
        for found in in_order(_with_size, track(faces, "images"), workers):
            if isinstance(found, LeftOut):
                failures.append(found)
                continue
            face, size = found
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
        raise SourceError(f"{path}: no image in it can be used ({len(failures)} tried{example})")
    (size, count), *_ = sizes.items()
    (usual, most), *_ = sizes.most_common()
    if usual != size:
        raise SourceError(
            f"{first}: the first image has {in_px(size)} ({count} images in all), but "
            f"{in_px(usual)} is more frequent ({most} images); remove the first image, or resize "
            "all images to one size"
        )
    if size[0] != size[1]:
        raise SourceError(f"{first}: the first image has {in_px(size)}; aligned faces are square")
    (out / "property").write_text(f"{len(identities)},{size[0]},{size[1]}\n", "utf-8")
    write_rows(out / "identities.csv", ("identity", "class"), identities.items())
    write_rows(out / "failures.csv", ("file", "reason"), failures)
    return Converted(count, len(identities), len(failures))


def _with_size(face: Face | LeftOut) -> tuple[Face, tuple[int, int]] | LeftOut:
    """Return a face with its height and width in px, or the reason why it cannot be used."""
    if isinstance(face, LeftOut):
        return face
    try:
        return face, decoded_size(face.encoded, face.where)
    except ImageError as error:
        return LeftOut(face.where, error.reason)


def in_px(size: tuple[int, int]) -> str:
    """Format (height, width) as ``width × height px``."""
    return f"{size[1]} × {size[0]} px"
