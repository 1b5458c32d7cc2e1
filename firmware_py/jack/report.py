"""What plays the sound, or why nothing does: a file in the runtime folder.

The process that keeps JACK writes it; status and doctor read it, so they look at what runs.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_type_hints

from dsp.errors import UserError
from firmware_py.base.paths import runtime_dir
from firmware_py.link.status import JackStatus

if TYPE_CHECKING:  # `nverb status` imports this module
    from firmware_py.jack.cards import Choice

FILE = "jack.json"


def new(
    server: str,
    *,
    choice: Choice | None = None,
    block_frames: int = 0,
    rate_hz: int = 0,
    periods: int = 0,
    changed: str = "",
    trouble: str = "",
) -> JackStatus:
    """A report of this process."""
    return JackStatus(
        server=server,
        pid=os.getpid(),
        capture=str(choice.capture) if choice else "",
        playback=str(choice.playback) if choice else "",
        block_frames=block_frames,
        rate_hz=rate_hz,
        periods=periods,
        changed=changed,
        trouble=trouble,
    )


def describe(report: JackStatus) -> str:
    """One line for a reader."""
    if report["trouble"]:
        return report["trouble"]
    if report["server"] == "other":
        return "a JACK server that was running already"
    on_desktop = report["server"] == "PipeWire"
    none = "the desktop's default device" if on_desktop else "no sound card (dummy)"
    capture, cards = report["capture"] or none, report["playback"] or none
    if capture != cards:
        cards = f"{capture} (input) and {cards} (output)"
    changed = f" ({report['changed']})" if report["changed"] else ""
    if on_desktop:
        return f"PipeWire, on {cards}{changed}"
    blocks = f"{report['block_frames']} frames x {report['periods']}"
    return f"{cards}, {blocks} at {report['rate_hz']} Hz{changed}"


def write(report: JackStatus) -> None:
    """Never raises."""
    with contextlib.suppress(OSError, UserError):
        path = runtime_dir() / FILE
        new_file = path.with_suffix(".new")
        new_file.write_text(json.dumps(report))
        new_file.replace(path)


def read(folder: Path) -> JackStatus | None:
    """The report in a runtime folder; None if there is none of a living process."""
    try:
        values = json.loads((folder / FILE).read_text()[:65_536])
        types = get_type_hints(JackStatus)
        report = cast(JackStatus, {name: kind(values[name]) for name, kind in types.items()})
        alive = _lives(report["pid"])
    except (OSError, OverflowError, ValueError, TypeError, KeyError):
        return None
    return report if alive else None


def _lives(pid: int) -> bool:
    """Whether there is such a process. The sandbox of a service hides the others in /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
