"""Counts examples that lack a name of captions that captions are drawn by."""

import logging
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Key of the count of examples that lack all names, which no name can be.
_ALL = "*"

_LOG = logging.getLogger("reader")


class MissingCaptions:
    """Counts of the batches of a host that were made so far.

    Threads may share an instance.
    """

    def __init__(self, weights: Mapping[str, float] | None) -> None:
        """Starts with zeros.

        Args:
            weights: Weights of the names; None if captions are not drawn by name.
        """
        self._names = tuple(weights or ())
        self._counts = np.zeros(len(self._names) + 1, np.int64)
        self._lock = threading.Lock()

    @property
    def counts(self) -> dict[str, int]:
        """Number of examples that lack each name, `{name: examples}`.

        The last key is `*`, for examples that lack all of them; empty without names.
        """
        if not self._names:
            return {}
        with self._lock:
            counts = self._counts.tolist()
        return dict(zip((*self._names, _ALL), counts, strict=True))

    def note(self, missing: NDArray[np.bool_], blank: NDArray[np.bool_]) -> Any:
        """Adds the examples of a batch.

        Logs a warning when a name is missing for the first time.

        Args:
            missing: bool[n, names], True where an example lacks a name.
            blank: bool[n], True at positions without an example.

        Returns:
            int64[], number of examples without a caption.
        """
        missing = missing[~blank]
        none = missing.all(axis=1).sum(keepdims=True)
        found = np.concatenate([missing.sum(axis=0), none])
        with self._lock:
            is_first = (self._counts == 0) & (found > 0)
            self._counts += found
        for name, first in zip(self._names, is_first.tolist(), strict=False):
            if first:
                _LOG.warning(
                    "some examples have no caption named %s: their captions are "
                    "drawn among the other names, and missing_captions counts them",
                    name,
                )
        if is_first[-1]:
            _LOG.warning(
                "some examples have no caption of any name asked for (%s): their "
                'captions are empty, and missing_captions["*"] counts them',
                ", ".join(self._names),
            )
        return none[0]
