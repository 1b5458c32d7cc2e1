"""Suppresses the output of packages that print pages of it."""

from __future__ import annotations

import os
import warnings


class suppress_output:
    """Discards Python's warnings and all that is written to stderr in this block, by C code too.

    TensorFlow prints pages to stderr. Exceptions are raised as usual.
    """

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._stderr = os.dup(2)
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 2)
        os.close(sink)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        self._warnings.__exit__(None, None, None)
