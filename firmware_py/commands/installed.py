"""Requests about installed files: carried out by the running pedal or, if none runs, here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firmware_py.base.say import say

if TYPE_CHECKING:
    from firmware_py.base.progress import Report
    from firmware_py.install.desk_end import Content

KINDS = ("bank", "model", "preset", "profile")
REFERENCE = "NAME, NAME@HASH or HASH as `nverb list` shows them"


def offer(name: str, kind: str | None, content: Content, signature: str) -> dict[str, Any]:
    """The request to install a file."""
    return {
        "do": "install",
        "name": name,
        "kind": kind or "",
        "size": content.size,
        "sha256": content.sha256,
        "signature": signature,
    }


def read_signature(named: Path | None, file: Path | None) -> str:
    """The text of the signature `named`, else of FILE.sig if there is one, else nothing."""
    from firmware_py.install.signatures import MAX_SIGNATURE
    from models.reading import read_file

    path = named
    if path is None and file is not None and file.with_name(file.name + ".sig").exists():
        path = file.with_name(file.name + ".sig")
    if path is None:
        return ""
    return read_file(path, MAX_SIGNATURE).decode(errors="replace")


def carry_out(
    request: dict[str, Any], report: Report, content: Content | None = None
) -> dict[str, Any]:
    """The answer of the pedal that runs here; if none runs, this process does it as its user."""
    from firmware_py.base.ownership import become_owner_of_data
    from firmware_py.base.paths import data_dir
    from firmware_py.install import board_end, desk_end, protocol

    with desk_end.board() as channel:
        if channel is not None:
            return desk_end.deliver(channel, request, report, content)
    become_owner_of_data()
    data = data_dir()
    chunks = content.chunks if content is not None else lambda _: iter(())
    checked = protocol.request_of({"nverb": protocol.VERSION, **request})
    return board_end.perform(checked, chunks, data=data, report=report)


@contextlib.contextmanager
def progress_shown() -> Iterator[Report]:
    """Print progress as a bar on stderr, and notes as lines there."""
    from firmware_py.base.progress import Bar, Report

    class Shown(Report):
        def __init__(self) -> None:
            self.bar = Bar() if sys.stderr.isatty() else None

        def progress(self, stage: str, done: int, total: int) -> None:
            if self.bar is not None and total:
                self.bar(stage, done, total)

        def note(self, text: str) -> None:
            if self.bar is not None:
                self.bar.close()
            say(text)

    report = Shown()
    try:
        yield report
    finally:
        if report.bar is not None:
            report.bar.close()
