"""Work on many items by threads, in order, with few of them in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
# Items that a thread works on in one go.
CHUNK = 16


def in_order(fn: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """``fn`` of each item, in the order of the items.

    Args:
        fn: What to do; it runs in threads, so it gains where it releases Python's lock.
        items: Read in the caller's thread, at most ``2 · workers + 1`` chunks ahead.
        workers: Number of threads; 1 is the caller's own, which costs the least.
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
            # Where the caller stops early, nobody waits for the rest.
            for future in waiting:
                future.cancel()
