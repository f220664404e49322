"""Work that one process does for all, and an end that all of them share."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn


def in_main_process(call: Callable[[], Any]) -> Any:
    """What a call in the main process alone returns, given to every process.

    If it raises a ``ValueError`` or ``OSError``, every process ends: :func:`end_all`.
    """
    from mmengine.dist import broadcast_object_list, is_main_process

    error: ValueError | OSError | None = None
    result = [None, False]
    if is_main_process():
        try:
            result = [call(), True]
        except (ValueError, OSError) as raised:
            error = raised
    broadcast_object_list(result)
    if not result[1]:
        end_all(error)
    return result[0]


def end_all(error: Exception | None) -> NoReturn:
    """Raise in the main process, which says what is wrong; end the others with exit code 1.

    Every process must call it. The others wait for the end of the main process, because a
    launcher kills it before it has spoken when one of them ends first.
    """
    from mmengine.dist import barrier, is_main_process

    if is_main_process():
        raise error
    with suppress(RuntimeError):
        barrier()
    sys.exit(1)
