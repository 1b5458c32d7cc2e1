"""The control socket: how `nverb set|get|status` and other programs talk to the control process.

A Unix stream socket in the runtime folder, mode 0660: the folder and the socket admit the pedal's
user and group only. Each message is one line of JSON (link.lines), answered by one line.

| request                              | answer, with "ok": true       | error, "ok": false        |
|--------------------------------------|-------------------------------|---------------------------|
| {"do": "set", "values": {name: ...}} | "values": {name: number},     | nothing was set           |
|  numbers, or text as for `nverb set` | as set; "note": what has no   |                           |
|                                      | effect, and why               |                           |
| {"do": "get", "names": [name, ...]}  | "values"; an empty list: all  | unknown name              |
| {"do": "status"}                     | "status": see link.status     |                           |
| {"do": "bank", "path": "..."}        | "bank": its name; path: as in | bad file: old bank plays  |
|                                      | rooms.source.rooms_named      |                           |
| {"do": "store"}                      | the connection passes to a    | too many at once          |
|                                      | process that speaks           |                           |
|                                      | install.protocol              |                           |
| {"do": "reload"}                     | "bank": the active one of the | bad slot: old bank plays  |
|                                      | store                         |                           |
| {"do": "reset"}                      | "preset": the name of the     |                           |
|                                      | startup preset, "" without    |                           |
| {"do": "preset", "load": name}, or   | "preset": the name of the     | nothing was changed       |
|  "step": 1 or -1                     | active preset                 |                           |
| {"do": "preset", "kept": name}       | the same; the preset's values |                           |
|                                      | are active already            |                           |
| {"do": "scene", "act": "a", "b",     | "scenes": see link.status     | no scene A, or no B       |
|  "toggle" or "forget"}               |                               |                           |
| {"do": "tap"}: a tap of the tempo    | "values": the tempo           |                           |
| {"do": "measure", "act": "start" or  | "measuring": see link.status  | it runs already           |
|  "stop"}; with start also "inputs",  |                               |                           |
|  "outputs", "preset", "level",       |                               |                           |
|  "length", "gear": as for            |                               |                           |
|  `nverb measure`                     |                               |                           |
| {"do": "midi"}, with "learn": name   | "midi": see                   | nothing was changed       |
|  (and "not": [source]) or null,      | control.midi.Midi.answer      |                           |
|  "assign": name with "source": "cc   |                               |                           |
|  20" and "options": {}, "forget":    |                               |                           |
|  name or null, "channel": 1..16 or   |                               |                           |
|  null, "listen": [name], "out":      |                               |                           |
|  [name] or null                      |                               |                           |

The answer to a request that failed is {"ok": false, "error": "one line"}; with "busy": true if the
same request may succeed soon.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.errors import UserError
from firmware_py.base import service
from firmware_py.base.paths import how_to_join, running_dir, runtime_dir
from firmware_py.base.service import where_the_log_is, why_it_is_missing
from firmware_py.link.lines import MAX_LINE, LineChannel, Message, NothingReceived, encode

if TYPE_CHECKING:
    from firmware_py.link.status import PedalStatus

__all__ = ["MAX_LINE", "NoPedal", "ask", "awaited_status", "connect", "socket_path"]


BUSY_S = 8.0
"""Longer than an installation without progress keeps its place."""
STARTS_S, POLL_S = 15.0, 0.3


def socket_path() -> Path:
    """The control socket of this user's pedal."""
    return runtime_dir() / "control.sock"


class NoPedal(UserError):
    """No control process is running."""


class _Busy(UserError):
    """The pedal refuses for now."""


def ask(request: Mapping[str, object], *, timeout_s: float = 5.0) -> Message:
    """Send a request to the control process and return its answer.

    Raises NoPedal if no pedal is running, UserError if it does not answer or refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return _ask(connection, request, timeout_s)


def awaited_status() -> PedalStatus:
    """The status; of a service that starts just now, once it answers, for at most STARTS_S.

    Raises what `ask` raises.
    """
    end_s = time.monotonic() + STARTS_S
    while True:
        try:
            status: PedalStatus = ask({"do": "status"})["status"]
        except NoPedal:
            if time.monotonic() > end_s or not service.is_active():
                raise
            time.sleep(POLL_S)
        else:
            return status


def connect(request: Mapping[str, object], *, timeout_s: float = 5.0) -> socket.socket | None:
    """Send a request and return the connection for further use; None if no pedal is running.

    Tries again for BUSY_S while the pedal is busy. Raises UserError if the pedal does not answer or
    refuses.
    """
    deadline = time.monotonic() + BUSY_S
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _ask(connection, request, timeout_s)
            connection.settimeout(None)
            return connection
        except NoPedal:
            connection.close()
            return None
        except _Busy:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        except BaseException:
            connection.close()
            raise


def _ask(connection: socket.socket, request: Mapping[str, object], timeout_s: float) -> Message:
    path = running_dir() / "control.sock"
    connection.settimeout(timeout_s)
    try:
        _connect(connection, path, time.monotonic() + timeout_s)
        connection.sendall(encode(request))
        answer = LineChannel(connection.fileno(), connection.fileno(), timeout_s).line()
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoPedal(
            f"no pedal runs here (no control process at {path}): {why_it_is_missing()}"
        ) from None
    except PermissionError:
        raise UserError(
            f"{path}: permission denied; join the pedal's group: {how_to_join()}, then log in again"
        ) from None
    except (TimeoutError, NothingReceived):
        raise UserError(f"the pedal did not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if answer is None:
        raise UserError(
            f"the pedal closed the connection without an answer: {where_the_log_is()} says why"
        )
    if not answer.get("ok"):
        text = str(answer.get("error", "the pedal refused the request and gave no reason"))
        raise _Busy(text) if answer.get("busy") is True else UserError(text)
    return answer


def _connect(connection: socket.socket, path: Path, deadline: float) -> None:
    """Connect; while the listen queue is full, retry until `deadline` (time.monotonic).

    Raises OSError, TimeoutError at the deadline.
    """
    while True:
        try:
            connection.connect(os.fspath(path))
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(0.01)
