"""Many faces aligned on several threads."""

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
    """The aligned face of each photo, encoded, in order; or why there is none.

    Args:
        jobs: Arguments of :func:`~lh2face.data.align.aligned_face`.
        total: How many there are.
        workers: Threads.
        encode: From the pixels of a face to its file.
        what: For the progress shown.
    """

    def crop(job: tuple[bytes, np.ndarray, str]) -> bytes | ImageError:
        try:
            return encode(aligned_face(*job))
        except ImageError as error:
            return error

    yield from track(in_order(crop, jobs, workers), f"aligning {what}", total)
