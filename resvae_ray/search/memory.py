"""A trial that runs out of memory is tried once more with less; what an ended one has left free is given back."""

import ctypes
import gc
import logging
import re
from collections.abc import Callable
from typing import TypeVar

import torch

from resvae_ray.errors import JobError, first_line

logger = logging.getLogger(__name__)

ALLOCATORS = re.compile(r"can't allocate memory|out of memory", re.IGNORECASE)  # torch's on the CPU; CUDA's own words

Result = TypeVar("Result")


class ShortOfMemory(JobError):
    """There was too little memory, and also for the frugal way."""


def with_less_if_short(usual: Callable[[], Result], frugal: Callable[[], Result]) -> Result:
    """What `usual()` gives, or where memory runs out in it, `frugal()`.

    Raises:
        ShortOfMemory: it ran out in that too.
    """
    reason = ""
    try:
        return usual()
    except Exception as error:
        if not ran_out(error):
            raise
        reason = first_line(error)
    # Not before here is the error gone, and with it what its frames hold.
    gc.collect()
    give_back()
    logger.warning("out of memory, another attempt with less of it: %s", reason)
    try:
        return frugal()
    except Exception as error:
        if not ran_out(error):
            raise
        raise ShortOfMemory(f"out of memory, also with its rows streamed: {first_line(error)}") from None


def ran_out(error: Exception) -> bool:
    """Whether an error says that memory ran out, of the machine or of a GPU."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and ALLOCATORS.search(str(error)) is not None)


def give_back() -> None:
    """Hands memory that nothing holds any more to the system and to others on the GPU.

    glibc keeps what is freed between two blocks that are not. Networks of many widths, one after another in a process,
    leave ever more of it: 60 to 200 MB a trial at 1,500 units (benchmarks/RESULTS.md).
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc's alone
        libc.malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
