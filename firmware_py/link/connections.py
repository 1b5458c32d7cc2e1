"""Which of JACK's ports the audio process has connected: a file in the runtime folder.

The audio process writes it, the control process reads it for `nverb status`, `nverb doctor` and the
fault LED. One line for each fact, its words separated by tabs:

    input   PORT ...      the ports that feed this input of the engine; one line for each input
    output  PORT ...      the ports that this output feeds; one line for each output
    automatic             the input that has sound feeds both sides
    mono                  the outputs are the mean of both sides
    fault   TEXT          what could not be connected, and the remedy
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from firmware_py.base.paths import runtime_dir, write_atomically
from models.reading import MalformedFile, read_file

_MAX_BYTES = 65_536


@dataclass(frozen=True)
class AudioConnections:
    """See this module. Without ports: the pedal's ports are left to others to connect."""

    inputs: tuple[tuple[str, ...], ...] = ()
    outputs: tuple[tuple[str, ...], ...] = ()
    automatic: bool = False
    mono: bool = False
    faults: tuple[str, ...] = ()


class ConnectionsReader:
    """The content of the file, read again when it has changed. Control process."""

    def __init__(self) -> None:
        self.now = AudioConnections()
        self._identity: tuple[int, int] | None = None

    def refresh(self) -> bool:
        """True if the file has changed."""
        try:
            info = os.stat(connections_path())
            identity = info.st_ino, info.st_mtime_ns
        except OSError:
            identity = None
        if identity == self._identity:
            return False
        self.now, self._identity = read_connections(), identity
        return True


def connections_path() -> Path:
    """The file in the runtime folder."""
    return runtime_dir() / "connections"


def write_connections(connections: AudioConnections) -> None:
    """Replace the file. Audio process; a full or unwritable folder raises nothing."""
    lines = [["input", *ports] for ports in connections.inputs]
    lines += [["output", *ports] for ports in connections.outputs]
    lines += [["automatic"]] if connections.automatic else []
    lines += [["mono"]] if connections.mono else []
    lines += [["fault", text] for text in connections.faults]
    text = "".join("\t".join(" ".join(word.split()) for word in line) + "\n" for line in lines)
    with contextlib.suppress(OSError):
        write_atomically(connections_path(), lambda file: file.write(text.encode()), durable=False)


def read_connections() -> AudioConnections:
    """The content of the file; of a missing one, nothing. Raises nothing."""
    try:
        text = read_file(connections_path(), _MAX_BYTES).decode(errors="replace")
    except (OSError, MalformedFile):
        return AudioConnections()
    rows = [line.split("\t") for line in text.splitlines()]
    return AudioConnections(
        inputs=tuple(tuple(row[1:]) for row in rows if row[0] == "input"),
        outputs=tuple(tuple(row[1:]) for row in rows if row[0] == "output"),
        automatic=["automatic"] in rows,
        mono=["mono"] in rows,
        faults=tuple(row[1] for row in rows if row[0] == "fault" and len(row) > 1),
    )
