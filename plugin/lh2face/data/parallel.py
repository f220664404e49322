"""A parallel map with threads that keeps the order and holds few items in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
# Number of items per task of a thread.
CHUNK = 16


def in_order(fn: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Apply ``fn`` to each item, and yield the results in the order of the items.

    Args:
        fn: A function that runs in threads; it is faster only if it releases Python's GIL.
        items: The items; the caller's thread reads at most ``2 · workers + 1`` chunks ahead.
        workers: Number of threads; with 1, ``fn`` runs in the caller's thread.
    """
    if workers == 1:
        yield from map(fn, items)
        return
    items = iter(items)
    waiting: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while chunk := list(islice(items, CHUNK)):
                waiting.append(pool.submit(lambda chunk: list(map(fn, chunk)), chunk))
                if len(waiting) > 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            # If the caller stops early, the remaining tasks are not needed.
            for future in waiting:
                future.cancel()
