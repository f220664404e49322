"""How a process holds memory while a network trains on the CPU, and how much it held."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
LARGEST_INT = 2**31 - 1


def reuse_freed_memory() -> None:
    """Keep freed memory in the process, where the C library is glibc.

    By default glibc maps every large tensor anew and gives it back when freed, so each step of a
    training pays for the same page faults again; on the CPU that is up to half of the step.
    """
    # ctypes has no handle of the process itself on Windows.
    libc = None if sys.platform == "win32" else ctypes.CDLL(None)
    if libc is not None and hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)


def peak_memory() -> int | None:
    """The most memory this process has held so far, MiB; None where the system does not tell."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    # KiB, but for macOS, which counts bytes.
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
