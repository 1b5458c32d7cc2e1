"""Command lines of nverb's own processes.

Each has -P: without it, Python imports modules first from the folder that it is started in, where a
stranger's json.py may be. `firmware_py.cli` sets PYTHONSAFEPATH for the processes that libraries
start.
"""

from __future__ import annotations

import sys


def nverb_command(*words: str) -> list[str]:
    """The command line of an nverb command, run by this Python."""
    return module_command("firmware_py.cli", *words)


def module_command(name: str, *words: str) -> list[str]:
    """The command line of a module that is a program, run by this Python."""
    return [sys.executable, "-P", "-m", name, *words]
