"""A folder with a trap for each module that nverb might import: no process may import from it."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions
from pathlib import Path


def lay_traps(folder: Path) -> Path:
    """Write the traps into `folder`. Returns the file where imported ones add their name."""
    caught = folder / "caught"
    own = {"bank", "device", "dsp", "firmware_py", "models", "systemd", "sitecustomize"}
    for name in {*sys.stdlib_module_names, *packages_distributions(), *own}:
        if name.isidentifier():
            trap = f"open({str(caught)!r}, 'a').write(__name__ + '\\n')\n"
            (folder / f"{name}.py").write_text(trap)
    return caught
