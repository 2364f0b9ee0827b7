"""A process that has nothing to do without the one that started it ends with it."""

from __future__ import annotations

import os
import signal
import sys


def end_with_parent(parent: int) -> None:
    """End this process when its parent ends, on Linux even in mid-computation; at once if it has ended already.

    Elsewhere the end of a pipe has to tell.

    Args:
        parent: process id. On Linux the thread of it that started this process counts.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)


def end_worker_with_parent(parent: int, _worker: int) -> None:
    """The same for a worker of PyTorch's ``DataLoader``, whose own watch misses a parent that ended too soon."""
    end_with_parent(parent)
