"""Command lines of our own processes."""

from __future__ import annotations

import sys


def command(*words: str) -> list[str]:
    """The command line of one of our own commands, run by this Python."""
    return [sys.executable, "-m", "firmware_py.cli", *words]
