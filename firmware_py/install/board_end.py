"""The receiving end of a push: what `nverb store` does on a board."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from dsp.errors import UserError, reason
from firmware_py.base.progress import Report
from firmware_py.install import installer
from firmware_py.install.activity import Activity
from firmware_py.install.protocol import REQUEST_S, Channel, request_of
from firmware_py.install.receive import Chunks, Offer
from firmware_py.link.lines import Message
from firmware_py.state.store import KINDS

PROGRESS_BYTES = 1 << 14


class _ChannelReport(Report):
    """Sends progress and notes to the desk."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def progress(self, stage: str, done: int, total: int) -> None:
        # The desk counts what it sends; a line during the transfer would mean a refusal.
        if stage != "receiving":
            self._send({"stage": stage, "done": done, "of": total})

    def note(self, text: str) -> None:
        self._send({"note": text})

    def _send(self, message: Mapping[str, object]) -> None:
        # If the desk has disconnected, the installation still completes.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._channel.send(message)


def behave() -> None:
    """Give up real-time priority, which the control process may pass on, and run at nice 10."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(10)


def serve(channel: Channel, data: Path) -> int:
    """Answer one request on the channel; return the exit status of the process.

    Runs in its own process, as the owner of the data folder.
    """
    answer: Message
    activity = Activity.inherited()
    try:
        line = channel.line(REQUEST_S)
        if line is None:
            return 0
        request = request_of(line)
        if activity is not None and request["do"] != "install":
            activity.complete()

        def receive(at: int) -> Chunks:
            channel.send({"have": at})
            size = request["size"]
            parts = channel.chunks() if size is None else channel.some(size - at)
            return _noted(parts, activity)

        done = perform(request, receive, data=data, report=_ChannelReport(channel))
        answer = {"ok": True, **done}
    except Exception as error:
        answer = {"ok": False, "error": reason(error)}
    with contextlib.suppress(OSError):
        channel.send(answer)
    return 0 if answer["ok"] else 1


def _noted(parts: Chunks, activity: Activity | None) -> Chunks:
    """The parts of a file. Each PROGRESS_BYTES count as progress; what follows them always does."""
    count = 0
    for part in parts:
        count += len(part)
        if activity is not None and count >= PROGRESS_BYTES:
            activity.note()
            count = 0
        yield part
    if activity is not None:
        activity.complete()


def perform(
    request: Message,
    receive: Callable[[int], Chunks],
    *,
    data: Path,
    report: Report,
) -> Message:
    """Carry out a request, see protocol.request_of. Raises UserError, ValueError, OSError."""
    kind, name = request.get("kind") or None, request.get("name", "")
    match request["do"]:
        case "install":
            offer = Offer(
                name,
                kind or "",
                request.get("size"),
                request.get("sha256", ""),
                request.get("signature", ""),
            )
            text = installer.install(offer, receive, data=data, report=report, live=take_over)
            return {"text": text}
        case "use":
            return {"text": installer.use(name, kind, data=data, report=report, live=take_over)}
        case "rollback" if kind in KINDS:
            assert kind is not None
            return {"text": installer.roll_back(kind, data=data, report=report, live=take_over)}
        case "remove":
            return {"text": installer.remove(name, kind, data=data)}
        case "list":
            return {"text": "", "rows": installer.listing(data)}
    raise UserError("rollback needs the kind bank or model")


def take_over() -> str:
    """Make the running pedal play the active state of the store; return the outcome as a verb.

    Raises UserError if the pedal refuses or does not answer.
    """
    from firmware_py.link.client import NoPedal, ask

    try:
        ask({"do": "reload"}, timeout_s=10)
    except NoPedal:
        return "is active"
    return "plays"
