"""The receiving end of a push: what `nverb store` does on a board."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dsp.errors import UserError
from firmware_py.base.progress import Report
from firmware_py.install import installer
from firmware_py.install.protocol import VERSION, Channel, printable
from firmware_py.install.receive import Chunks, Offer
from firmware_py.state.store import KINDS


class _Speaker(Report):
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def progress(self, stage: str, done: int, total: int) -> None:
        if (
            stage != "receiving"
        ):  # the desk knows what it has sent, and takes any word before the end for a refusal
            self._say({"stage": stage, "done": done, "of": total})

    def note(self, text: str) -> None:
        self._say({"note": text})

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # who asked is gone: the work is done all the same
            self._channel.send(message)


def behave() -> None:
    """An installer leaves the processor and the disk to the pedal: the control process that starts it may have real-time priority."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(10)


def serve(channel: Channel, data: Path) -> int:
    """Answers the one request that comes. In a process of its own, as the owner of the data folder; its exit status."""
    try:
        request = channel.line()
        if request is None:
            return 0
        if request.get("nverb") != VERSION:
            raise UserError(
                f"the other side speaks version {request.get('nverb')!r}, this nverb {VERSION}: update the older one"
            )

        def receive(at: int) -> Chunks:
            channel.send({"have": at})
            size = request["size"]
            return channel.chunks() if size is None else channel.some(size - at)

        answer = {"ok": True} | perform(request, receive, data=data, report=_Speaker(channel))
    except Exception as error:
        text = (
            f"{error.filename}: {error.strerror}"
            if isinstance(error, OSError) and error.filename
            else str(error)
        )
        answer = {"ok": False, "error": " ".join(text.split()) or type(error).__name__}
    with contextlib.suppress(OSError):
        channel.send(answer)
    return 0 if answer["ok"] else 1


def perform(
    request: dict[str, Any], receive: Callable[[int], Chunks], *, data: Path, report: Report
) -> dict[str, Any]:
    """Does what a request says. Raises UserError, ValueError, OSError."""
    kind = request.get("kind") or None
    name = printable(request.get("name", ""))
    match request.get("do"):
        case "install":
            size, sha256 = request.get("size"), str(request.get("sha256", ""))
            if not (size is None or (type(size) is int and size >= 0)):
                raise UserError(f"no size: {size!r:.40}")
            if sha256 and not (len(sha256) == 64 and set(sha256) <= set("0123456789abcdef")):
                raise UserError(f"no SHA-256: {sha256[:80]!r}")
            offer = Offer(name, kind or "", size, sha256, str(request.get("signature", "")))
            return {
                "text": installer.install(offer, receive, data=data, report=report, live=take_over)
            }
        case "use":
            return {"text": installer.use(name, kind, data=data, report=report, live=take_over)}
        case "rollback" if kind in KINDS:
            assert kind is not None
            return {"text": installer.roll_back(kind, data=data, report=report, live=take_over)}
        case "remove":
            return {"text": installer.remove(name, kind, data=data)}
        case "list":
            return {"text": "", "rows": installer.listing(data)}
    raise UserError(f"unknown request {request.get('do')!r:.40}: update nverb here")


def take_over() -> str:
    """Has the running pedal play what the store has in force; how that went, in words. Raises UserError: it refuses, or hangs."""
    from firmware_py.link.client import NoPedal, ask

    try:
        ask({"do": "reload"}, timeout_s=10)
    except NoPedal:
        return "is in force"
    return "plays"
