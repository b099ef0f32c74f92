"""Forked children, in which TensorFlow no longer works: it has threads, and forks none.

In a child, an iterator that is read, deleted, or left at the end of Python would wait
for a thread of the parent, forever.
"""

import ctypes
import os
import weakref
from typing import Any

from reader.contract.errors import UsageError


class _Iterators:
    """Iterators of this process.

    Attributes:
        begun: Whether this process has started an iterator.
        forked: Whether the parent had started one when it forked this process.
    """

    def __init__(self) -> None:
        self.begun = self.forked = False
        # By identity, since tensors are not hashable.
        self.resources: weakref.WeakValueDictionary[int, Any]
        self.resources = weakref.WeakValueDictionary()

    def after_fork(self) -> None:
        self.forked = self.begun
        for resource in list(self.resources.values()):
            # Keeps TensorFlow from deleting it, even at the end of Python.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(resource))


_iterators = _Iterators()
os.register_at_fork(after_in_child=_iterators.after_fork)


def note_iterator(resource: Any) -> None:
    """Notes that this process uses an iterator.

    Args:
        resource: Tensor with TensorFlow's iterator, which ends with it.
    """
    _iterators.begun = True
    _iterators.resources[id(resource)] = resource


def check_not_forked() -> None:
    """Checks that TensorFlow can read in this process.

    Raises:
        UsageError: It was forked by a process that had started to read.
    """
    if _iterators.forked:
        raise UsageError(
            "TensorFlow cannot read in this process, which was forked by one that had "
            "read batches: start it with multiprocessing's method spawn, fork before "
            "the first batch, or read single examples with reader.open"
        )
