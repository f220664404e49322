"""Memory of a process that trains on the CPU: reuse of freed memory, and the peak."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
LARGEST_INT = 2**31 - 1


def reuse_freed_memory() -> None:
    """Keep freed memory in the process, if its C library is glibc.

    By default, glibc requests memory from the system for every large tensor, and returns it when
    the tensor is freed. So every step of a training causes the same page faults again. On the CPU,
    these take up to half of the time.
    """
    # On Windows, ctypes cannot open the process itself.
    libc = None if sys.platform == "win32" else ctypes.CDLL(None)
    if libc is not None and hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)


def peak_memory() -> int | None:
    """Return the peak memory of this process so far in MiB; ``None`` on Windows."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    # The unit is KiB, but bytes on macOS.
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
