"""Command lines of nverb's own processes."""

from __future__ import annotations

import sys


def command(*words: str) -> list[str]:
    """The command line of an nverb command, run by this Python."""
    return [sys.executable, "-m", "firmware_py.cli", *words]
