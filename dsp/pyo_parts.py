"""Of pyo what the graph is made of. All of it would be more locked memory (`nverb bench memory`) and time at the start."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

NAMES = ("Server", "Input", "DataTable", "TableFill", "TableScan", "CallAlways_base")
PARTS = ("server", "generators", "tables", "tableprocess", "_core")
"""Modules of pyo.lib in which they are, in pyo 1.1."""


def load() -> SimpleNamespace:
    """These classes of pyo; raises ImportError where there is no pyo, or none that has them."""
    os.environ["PYO_GUI_WX"] = "0"  # read when pyo is imported: no search for a window system
    tkinter = sys.modules.get("tkinter")
    sys.modules["tkinter"] = None  # type: ignore[assignment]  # nor for another one: Tk and X11 would take 4 MB
    try:
        with contextlib.redirect_stdout(
            io.StringIO()
        ):  # it advertises window systems where there is none
            found = _parts() or vars(importlib.import_module("pyo"))
    finally:
        del sys.modules["tkinter"]
        if tkinter is not None:
            sys.modules["tkinter"] = tkinter
    missing = [name for name in NAMES if name not in found]
    if missing:
        raise ImportError(f"pyo has no {', '.join(missing)}: install pyo 1.1.0 or newer")
    return SimpleNamespace(**{name: found[name] for name in NAMES})


def _parts() -> dict[str, Any]:
    """What PARTS define, from a package `pyo` whose own code, which imports everything, does not run; empty where they are elsewhere.
    Who imports pyo later gets it whole."""
    spec = importlib.util.find_spec("pyo")
    if "pyo" in sys.modules or spec is None or spec.origin is None:
        return {}
    package = ModuleType("pyo")
    package.__spec__, package.__file__, package.__path__ = (
        spec,
        spec.origin,
        spec.submodule_search_locations or [],
    )
    sys.modules["pyo"] = package
    found: dict[str, Any] = {}
    try:
        # A wheel with libraries in it: the system's JACK goes before.
        if os.path.isdir(f"{os.path.dirname(spec.origin)}.libs"):
            importlib.import_module("pyo._linux_wheel_fix_symlinks")
        for part in PARTS:
            found |= vars(importlib.import_module(f"pyo.lib.{part}"))
    except (ImportError, AttributeError):
        return {}
    finally:
        del sys.modules["pyo"]
    return found if all(name in found for name in NAMES) else {}
