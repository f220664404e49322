import threading

import pytest

from lh2face.data.parallel import CHUNK, in_order


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("count", [0, 1, CHUNK, 10 * CHUNK + 1])
def test_results_come_in_order(workers, count):
    assert list(in_order(lambda x: x * x, range(count), workers)) == [x * x for x in range(count)]


def test_only_few_items_are_read_ahead():
    read, workers = [], 2
    items = (read.append(i) or i for i in range(100 * CHUNK))
    for done, _ in enumerate(in_order(lambda x: x, items, workers)):
        assert len(read) <= (done // CHUNK + 2 * workers + 1) * CHUNK
    assert len(read) == 100 * CHUNK


def test_an_error_is_raised_to_the_caller_and_ends_the_threads():
    def fail(x):
        raise ValueError(f"item {x}")

    before = threading.active_count()
    with pytest.raises(ValueError, match="item 0"):
        list(in_order(fail, range(10_000), 2))
    assert threading.active_count() == before


def test_a_caller_may_stop_early():
    before = threading.active_count()
    results = in_order(lambda x: x, iter(int, 1), 2)
    next(results)
    results.close()
    assert threading.active_count() == before
