"""PipeWire in place of jackd: on a desktop it has the sound cards, and JACK programs play there.

PipeWire has a JACK library of its own. pyo's wheel brings jackd's library, so PipeWire's is loaded
before it, in our processes only.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sysconfig
from pathlib import Path

LIBRARY_FOLDERS = (
    f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}",
    "/usr/lib64",
    "/usr/lib",
)
"""Where distributions keep pipewire-0.3/jack/libjack.so.0."""
ASK_S = 5.0


def socket_path() -> str:
    """The socket of this user's PipeWire; "" without a session."""
    folder = os.environ.get("PIPEWIRE_RUNTIME_DIR") or os.environ.get("XDG_RUNTIME_DIR") or ""
    name = os.environ.get("PIPEWIRE_REMOTE") or "pipewire-0"
    return os.path.join(folder, name) if folder or name.startswith("/") else ""


def is_running() -> bool:
    """True if PipeWire of this user runs, or starts when somebody connects."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(1)
        try:
            knock.connect(socket_path())
        except (OSError, ValueError):
            return False
    return True


def library() -> Path | None:
    """PipeWire's JACK library (Debian: package pipewire-jack)."""
    paths = (Path(folder) / "pipewire-0.3/jack/libjack.so.0" for folder in LIBRARY_FOLDERS)
    return next((path for path in paths if path.exists()), None)


def environment(block_frames: int, rate_hz: int) -> dict[str, str]:
    """What a JACK program needs in its environment to play through PipeWire; {} if it cannot.

    It cannot if PipeWire does not run, has no JACK library, or has no output: some desktops use it
    for video only.
    """
    path = library()
    if path is None or not is_running():
        return {}
    found = {
        "LD_PRELOAD": " ".join([str(path), *os.environ.get("LD_PRELOAD", "").split()]),
        "NVERB_JACK_SOCKET": socket_path(),  # what the audio process waits for
        "PIPEWIRE_QUANTUM": f"{block_frames}/{rate_hz}",
        # The default devices get the names of jackd's: system:playback_1, system:capture_1
        "PIPEWIRE_PROPS": "{ jack.default-as-system = true }",
    }
    return found if _has_output(found) else {}


def _has_output(environment_: dict[str, str]) -> bool:
    tool = shutil.which("jack_lsp")
    if tool is None:
        return False
    try:
        done = subprocess.run(
            [tool, "-p"],
            env=os.environ | environment_,
            capture_output=True,
            text=True,
            timeout=ASK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return "input,physical" in done.stdout or "system:playback_1\n" in done.stdout
