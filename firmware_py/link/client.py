"""The control socket: how `nverb set|get|status` and other programs speak to the control process.

A Unix stream socket in the runtime folder, mode 0660: the folder and the socket let in the pedal's user and group, nobody else.
Each message is one line of JSON, UTF-8, at most MAX_LINE bytes, answered by one line.

| request                              | answer, with "ok": true              | error, "ok": false              |
|--------------------------------------|--------------------------------------|---------------------------------|
| {"do": "set", "values": {name: ...}} | "values": {name: number}, as set     | all or none: nothing was set    |
| {"do": "get", "names": [name, ...]}  | "values"; an empty list means all    | an unknown name                 |
| {"do": "status"}                     | "status": see firmware_py.desk.screen     |                                 |
| {"do": "bank", "path": "..."}        | "bank": its name; path: as rooms_named | a bad file: the old bank plays |
| {"do": "store"}                      | the connection goes to a process that | too many at once               |
|                                      | speaks firmware_py.install.protocol on it        |                                 |
| {"do": "reload"}                     | "bank": what the store has in force  | a bad slot: the old bank plays  |
| {"do": "preset", "load": name}, or "step": 1 or -1 | "preset": the name of the one that plays | what plays goes on |
| {"do": "preset", "kept": name}       | the same; it is on already, nothing is set | -                         |
| {"do": "midi"}, with "learn": name or null, "assign": name and "cc": 0..119, "forget": name or null, "channel": 1..16 or null
|                                      | "midi": see firmware_py.control.midi.Midi.answer | nothing was changed         |

An error's answer is {"ok": false, "error": "one line"}.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from dsp.errors import UserError
from firmware_py.base.paths import running_dir, runtime_dir
from firmware_py.link.lines import MAX_LINE, LineChannel, NothingReceived, encode

__all__ = ["MAX_LINE", "NoPedal", "ask", "connect", "socket_path"]


def socket_path() -> Path:
    """Where the control process of this user listens."""
    return runtime_dir() / "control.sock"


class NoPedal(UserError):
    """No control process runs here."""


def ask(request: dict[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
    """Sends a request to the control process and returns its answer. Raises UserError: no pedal (NoPedal), no answer, or its refusal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return _ask(connection, request, timeout_s)


def connect(request: dict[str, Any], *, timeout_s: float = 5.0) -> socket.socket | None:
    """The connection over which `request` was granted, for what comes next on it; None if no pedal runs. Raises UserError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _ask(connection, request, timeout_s)
        connection.settimeout(None)
        return connection
    except NoPedal:
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise


def _ask(connection: socket.socket, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    path = running_dir() / "control.sock"
    connection.settimeout(timeout_s)
    try:
        _connect(connection, path, time.monotonic() + timeout_s)
        connection.sendall(encode(request))
        answer = LineChannel(connection.fileno(), connection.fileno(), timeout_s).line()
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoPedal(
            f"no pedal runs here (no control process at {path}): start it with `nverb run`"
        ) from None
    except PermissionError:
        raise UserError(f"{path}: permission denied; join the pedal's group") from None
    except (TimeoutError, NothingReceived):
        raise UserError(f"the pedal did not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if answer is None:
        raise UserError("the pedal closed the connection without an answer: see its log")
    if not answer.get("ok"):
        raise UserError(answer.get("error", "the pedal refused, and did not say why"))
    return answer


def _connect(connection: socket.socket, path: Path, deadline: float) -> None:
    """Connects; where the queue of those who wait is full, tries again until `deadline` (time.monotonic). Raises OSError."""
    while True:
        try:
            connection.connect(os.fspath(path))
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(0.01)
