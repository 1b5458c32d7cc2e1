"""Packages that talk too much, and packages that only a desktop has."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any


class hushed:
    """What is written to stderr in this block (TensorFlow: pages, from C) and Python's warnings are not shown. What matters must be
    raised."""

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


def extra_import(name: str, extra: str) -> Any:
    """The module of that name, one of an extra's packages. Raises ImportError that says how to install it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with hushed():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"this needs {error.name}, which is not installed: `pip install 'nverb[{extra}]'` (on a desktop, not the pedal)"
        ) from None


def studio_import(name: str) -> Any:
    """The same of the `studio` extra."""
    return extra_import(name, "studio")
