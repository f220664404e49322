"""Work that the main process does for all processes, and their common end if it fails."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn


def in_main_process(call: Callable[[], Any]) -> Any:
    """Call a function in the main process only, and return its result in every process.

    Every process must call this. If the function raises ``ValueError`` or ``OSError``, the main
    process raises it, and all others end with exit code 1.
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
    """Raise the error in the main process, and end the others with exit code 1.

    Every process must call this. The others wait until the main process has ended: if one of them
    ended first, the launcher would kill the main process before it prints the error.
    """
    from mmengine.dist import barrier, is_main_process

    if error is not None and is_main_process():
        raise error
    with suppress(RuntimeError):
        barrier()
    sys.exit(1)
