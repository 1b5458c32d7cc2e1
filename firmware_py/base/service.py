"""The pedal as a service of this system: whether it is there, and the words that start or log it.

Each message that says how to start, restart or look at the pedal takes its words from here: where
the service is installed, `nverb run` would start a second pedal beside it.
"""

from __future__ import annotations

import os
from pathlib import Path

from dsp.errors import UserError
from firmware_py.base import paths

UNIT = Path("/etc/systemd/system/nverb.target")
SYSTEMD = Path("/run/systemd/system")
LOCKS = ("control", "audio", "jack")
"""Of the services, see `firmware_py.base.paths.Lock`."""


def is_used() -> bool:
    """Whether commands of this user mean the service: it is installed, systemd runs, and no other
    state folder is named."""
    return paths.data_path() == paths.SERVICE_DATA and UNIT.exists() and SYSTEMD.is_dir()


def how_to_start() -> str:
    return "`sudo systemctl start nverb.target`" if is_used() else "`nverb run`"


def is_active() -> bool:
    """Whether the service runs or starts. Runs systemctl: for commands only."""
    # Not at the top: short commands import this module.
    import shutil
    import subprocess

    systemctl = shutil.which("systemctl")
    if systemctl is None or not is_used():
        return False
    words = [systemctl, "is-active", UNIT.name]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return said in ("active", "activating", "reloading")


def why_it_is_missing() -> str:
    """The remedy where no pedal answers. Runs systemctl: for commands only."""
    if is_active():
        return f"the service is starting; if that lasts, {where_the_log_is()} says why"
    return f"start it with {how_to_start()}"


def how_to_restart() -> str:
    if is_used():
        return "`sudo systemctl restart nverb.target`"
    return "stop and start `nverb run`"


def where_the_log_is() -> str:
    return "`nverb logs`" if is_used() else "the terminal of `nverb run`"


def require_stopped() -> None:
    """Refuse a second pedal over the service's state folder. Raises UserError.

    It would fight with the service for the card, the board and the presets.
    """
    if paths.data_path() != paths.SERVICE_DATA:
        return
    running = [name for name in LOCKS if _is_locked(paths.SERVICE_RUNTIME / f"{name}.lock")]
    if running:
        raise UserError(
            "the pedal already runs here as a service: `nverb status` shows it, "
            "`sudo systemctl stop nverb.target` stops it. For a second pedal, name folders of its "
            "own in NVERB_DATA_DIR and NVERB_RUNTIME_DIR"
        )


def _is_locked(path: Path) -> bool:
    """Whether a process holds the lock. A look at it leaves it free for a service that starts."""
    try:
        info = os.stat(path, follow_symlinks=False)
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    # "1: FLOCK  ADVISORY  WRITE 1234 00:1a:567 0 EOF"
    name = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    return any(name in line.split() for line in locks)
