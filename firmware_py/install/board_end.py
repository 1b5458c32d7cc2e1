"""The receiving end of a push: what `nverb store` does on a board."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dsp.errors import UserError, reason
from firmware_py.base.progress import Report
from firmware_py.install import installer
from firmware_py.install.activity import Activity
from firmware_py.install.protocol import BEAT_S, REQUEST_S, Channel, request_of
from firmware_py.install.receive import Chunks, Offer
from firmware_py.link.lines import Message
from firmware_py.state.store import KINDS

PROGRESS_BYTES = 1 << 14


class _ChannelReport(Report):
    """Sends progress and notes to the desk, and every BEAT_S that the work goes on."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._stage = "preparing"
        self._is_receiving = False

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Send beats until the block ends."""
        thread = threading.Thread(target=self._beat, name="beats", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._send({"stage": self._stage})
            except (UserError, OSError):  # the desk does not read
                return

    def ask_for_file(self, at: int) -> None:
        """Ask for the file, and send nothing from now on until `received`."""
        with self._lock:
            self._channel.send({"beats": True, "have": at})
            self._is_receiving = True

    def received(self) -> None:
        self._is_receiving = False

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage != "receiving":
            self._stage = stage
            self._send({"stage": stage, "done": done, "of": total})

    def note(self, text: str) -> None:
        self._send({"note": text})

    def _send(self, message: Mapping[str, object]) -> None:
        """Send a line, but none during the transfer: it would mean a refusal."""
        # If the desk has disconnected, the installation still completes.
        with self._lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if not self._is_receiving:
                self._channel.send({"beats": True, **message})


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

        report = _ChannelReport(channel)

        def receive(at: int) -> Chunks:
            report.ask_for_file(at)
            size = request["size"]
            yield from _noted(
                channel.chunks() if size is None else channel.some(size - at), activity
            )
            report.received()

        with report.beating():
            done = perform(request, receive, data=data, report=report)
        answer = {"ok": True, **done}
    except Exception as error:
        answer = {"ok": False, "error": reason(error)}
    with contextlib.suppress(OSError):
        channel.send(answer)
    return 0 if answer["ok"] else 1


def refuse(channel: Channel, why: Exception) -> int:
    """Answer one request on the channel with an error; return the exit status of the process."""
    with contextlib.suppress(UserError, OSError):
        channel.line(REQUEST_S)
    with contextlib.suppress(OSError):
        channel.send({"ok": False, "error": reason(why)})
    return 1


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
