"""Whether tests can start this Python as another user."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def can_run_this() -> bool:
    """Whether others can read this checkout and its Python; below /root they cannot."""
    folders = (Path(sys.prefix), Path(sys.base_prefix), ROOT)
    parts = {part for folder in folders for part in (folder, *folder.parents)}
    return all(part.stat().st_mode & 0o005 == 0o005 for part in parts)


def can_run_this_python() -> bool:
    """The same of the Python alone: for a test that loads our modules before it changes users."""
    python = Path(sys.base_prefix)
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (python, *python.parents))
