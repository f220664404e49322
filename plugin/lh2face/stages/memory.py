"""How a process holds memory while a network trains on the CPU, and how much it held."""

import ctypes
import resource

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
LARGEST_INT = 2**31 - 1


def reuse_freed_memory() -> None:
    """Keep freed memory in the process, where the C library is glibc.

    By default glibc maps every large tensor anew and gives it back when freed, so each step of a
    training pays for the same page faults again; on the CPU that is up to half of the step.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)


def peak_memory() -> float:
    """The most memory this process has held so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
