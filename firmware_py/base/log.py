"""The log of a process: lines on stderr such as `nverb control: text`, by the library `logging`.

A module logs with `log = logger("control")` and `log.warning(...)`. Levels: debug is for
developers; info says what happened as asked or planned; warning says what the pedal could not do,
and how it goes on; error says why a process exits, or is a bug. The setting `log_level` chooses the
lowest level that is written.

Import this module only in processes that stay: it takes 5 ms and 0.4 MiB (`nverb bench memory`).
"""

from __future__ import annotations

import logging
import sys

from dsp.names import shown
from firmware_py.base.say import command


class _LineFormatter(logging.Formatter):
    """The logger's name and the text; on a terminal, first clear the simulated board's line.

    Further lines, such as those of a traceback, are indented: no name in a text can forge a line.
    """

    def format(self, record: logging.LogRecord) -> str:
        name = command() if record.name == "nverb" else record.name.replace(".", " ")
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        text = "\n    ".join(map(shown, super().format(record).split("\n")))
        return f"{clear}{name}: {text}"


class _StderrHandler(logging.Handler):
    """Writes to the present sys.stderr, which firmware_py.base.stderr and tests replace."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def logger(part: str = "") -> logging.Logger:
    """The logger of a part of nverb, such as "audio"; without a part that of the command."""
    return _root.getChild(part) if part else _root


def set_level(level: str) -> None:
    """Write only lines of this level and above: "debug", "info" or "warning"."""
    _root.setLevel(level.upper())


_handler = _StderrHandler()
_handler.setFormatter(_LineFormatter())
_root = logging.getLogger("nverb")
_root.addHandler(_handler)
_root.propagate = False
set_level("info")
