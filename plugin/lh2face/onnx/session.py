"""Opening of untrusted ONNX files with onnxruntime, with a limit on memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from lh2face.onnx.files import OnnxError
from lh2face.text import first_line, printable

# Greatest CPU memory that running graphs may use, without their weights, in bytes.
MOST_MEMORY = 4 << 30


def open_session(path: Path, threads: int = 0) -> Any:
    """Open an ``onnxruntime.InferenceSession`` for a file.

    A graph that needs more than ``MOST_MEMORY`` on the CPU fails with an error when it runs.

    Args:
        path: The file.
        threads: Number of threads per run; with 0, onnxruntime decides.

    Raises:
        OnnxError: If onnxruntime cannot load the file.
    """
    import onnxruntime

    _bound_memory()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the errors contain what it would log
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.use_env_allocators", "1")
    with onnx_errors(path):
        return onnxruntime.InferenceSession(
            str(path), options, providers=onnxruntime.get_available_providers()
        )


@contextmanager
def onnx_errors(path: Path) -> Iterator[None]:
    """Turn any exception inside the context into an :class:`OnnxError` of one line."""
    try:
        yield
    except Exception as error:  # onnxruntime's own errors have no common base
        reason = printable(first_line(error))
        raise OnnxError(f"{path}: onnxruntime cannot run it: {reason}") from None


@cache
def _bound_memory() -> None:
    """Give all sessions of the process one shared allocator with a limit."""
    import onnxruntime

    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    default = -1
    limits = onnxruntime.OrtArenaCfg(
        {
            "max_mem": MOST_MEMORY,
            "arena_extend_strategy": default,
            "initial_chunk_size_bytes": default,
            "max_dead_bytes_per_chunk": default,
        }
    )
    onnxruntime.create_and_register_allocator(memory, limits)
