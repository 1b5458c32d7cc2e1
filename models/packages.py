"""Optional Python packages: importing them, and the command that installs a missing one."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from models.suppress import suppress_output

NAMES = {
    "PIL": "pillow",
    "distributed": "dask[distributed]",
    "jack": "JACK-Client",
}
"""Modules whose package has another name."""
CHECKOUT = Path(__file__).parents[1]


def how_to_install(package: str) -> str:
    """The command that installs a package from PyPI into this environment."""
    own = Path(sys.prefix, "bin/pip")
    words = [str(own)] if own.exists() else [sys.executable, "-P", "-m", "pip"]
    if not os.access(sys.prefix, os.W_OK):
        words.insert(0, "sudo")
    return shlex.join([*words, "install", package])


def studio_import(name: str) -> Any:
    """Import a module of the studio packages. Raises ImportError with the command to install it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with suppress_output():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        remedy = how_to_install(NAMES.get(missing, missing))
        if (CHECKOUT / "Makefile").exists():
            remedy = f"make -C {shlex.quote(str(CHECKOUT))} studio"
        raise ImportError(
            f"this needs {missing}, which is not installed: `{remedy}` "
            "(on a desktop, not the pedal)"
        ) from None
