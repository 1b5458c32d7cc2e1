"""Command lines of nverb's own processes, and how they end with the process that starts them.

Each has -P: without it, Python imports modules first from the folder that it is started in, where a
stranger's json.py may be. `firmware_py.cli` sets PYTHONSAFEPATH for the processes that libraries
start.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys


def nverb_command(*words: str) -> list[str]:
    """The command line of an nverb command, run by this Python."""
    return module_command("firmware_py.cli", *words)


def module_command(name: str, *words: str) -> list[str]:
    """The command line of a module that is a program, run by this Python."""
    return [sys.executable, "-P", "-m", name, *words]


def ends_with_parent(command: list[str]) -> list[str]:
    """The command line, so that its process gets SIGTERM when the thread that starts it ends.

    Otherwise a killed `nverb run` would leave its processes to run on. util-linux has setpriv;
    without it the next run ends them (firmware_py.desk.orphans).
    """
    return [*_setpriv(), *command]


@functools.cache
def _setpriv() -> list[str]:
    """The words before the command; none where they would fail.

    The sandbox of the services forbids system calls of setpriv; there systemd ends all processes.
    """
    setpriv = shutil.which("setpriv")
    words = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
    is_allowed = words and subprocess.run([*words, "true"], capture_output=True, check=False)
    return words if is_allowed and is_allowed.returncode == 0 else []
