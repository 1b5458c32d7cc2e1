"""Imports only the pyo classes that the graph uses: less locked memory (`nverb bench memory`) and a
faster start than all of pyo."""

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
"""The modules of pyo.lib that define them, in pyo 1.1."""


def load() -> SimpleNamespace:
    """The classes NAMES of pyo. Raises ImportError if pyo is missing or does not have them."""
    os.environ["PYO_GUI_WX"] = "0"  # read by pyo's import: do not look for a GUI
    tkinter = sys.modules.get("tkinter")
    sys.modules["tkinter"] = None  # type: ignore[assignment]  # nor load Tk and X11: 4 MB
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pyo prints a hint about GUIs
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
    """The definitions of PARTS, imported without running pyo's `__init__`, which imports
    everything. Empty if pyo has other modules. A later `import pyo` still gets the full package."""
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
        # A wheel that bundles libraries: the system's JACK has priority.
        if os.path.isdir(f"{os.path.dirname(spec.origin)}.libs"):
            importlib.import_module("pyo._linux_wheel_fix_symlinks")
        for part in PARTS:
            found |= vars(importlib.import_module(f"pyo.lib.{part}"))
    except (ImportError, AttributeError):
        return {}
    finally:
        del sys.modules["pyo"]
    return found if all(name in found for name in NAMES) else {}
