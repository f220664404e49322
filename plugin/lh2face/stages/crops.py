"""Many faces aligned on several threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

import numpy as np

from lh2face.data.align import aligned_face
from lh2face.data.images import ImageError
from lh2face.progress import track

# Photos read ahead of the threads; one may have many megabytes.
BLOCK = 128


def crops(
    jobs: Iterator[tuple[bytes, np.ndarray, str]], total: int, pool: ThreadPoolExecutor,
    encode: Callable[[np.ndarray], bytes], what: str,
) -> Iterator[bytes | ImageError]:  # fmt: skip
    """The aligned face of each photo, encoded, in order; or why there is none.

    Args:
        jobs: Arguments of :func:`~lh2face.data.align.aligned_face`.
        total: How many there are.
        pool: OpenCV releases Python's lock, so threads are enough.
        encode: From the pixels of a face to its file.
        what: For the progress shown.
    """

    def crop(job: tuple[bytes, np.ndarray, str]) -> bytes | ImageError:
        try:
            return encode(aligned_face(*job))
        except ImageError as error:
            return error

    blocks = (pool.map(crop, list(islice(jobs, BLOCK))) for _ in range(0, total, BLOCK))
    yield from track(chain.from_iterable(blocks), f"aligning {what}", total)
