"""Alignment of many faces by several threads."""

from collections.abc import Callable, Iterator

import numpy as np

from lh2face.data.align import aligned_face
from lh2face.data.images import ImageError
from lh2face.data.parallel import in_order
from lh2face.progress import track


def crops(
    jobs: Iterator[tuple[bytes, np.ndarray, str]], total: int, workers: int,
    encode: Callable[[np.ndarray], bytes], what: str,
) -> Iterator[bytes | ImageError]:  # fmt: skip
    """Align and encode the faces of photos.

    Args:
        jobs: Arguments of :func:`~lh2face.data.align.aligned_face`, one tuple per photo.
        total: Number of photos.
        workers: Number of threads.
        encode: Function that encodes the pixels of a face, such as
            :func:`~lh2face.data.images.encode_png`.
        what: Name of the photos, for the progress display.

    Yields:
        The encoded face of each photo, in order, or the error that says why there is none.
    """

    def crop(job: tuple[bytes, np.ndarray, str]) -> bytes | ImageError:
        try:
            return encode(aligned_face(*job))
        except ImageError as error:
            return error

    yield from track(in_order(crop, jobs, workers), f"aligning {what}", total)
