"""Copy a recording from a board over the user's own OpenSSH client. The board's bytes are not
trusted: no more than MAX_BYTES, and only a WAV file replaces another file.
"""

from __future__ import annotations

import shlex
import struct
from pathlib import Path
from typing import BinaryIO

from dsp.errors import UserError
from firmware_py.install.inventory import PushTarget
from firmware_py.install.ssh import SshCall, ssh_call
from models.files import require_space, write_atomically

MAX_BYTES = 256 << 20
"""A recording of a minute in four channels at 192 kHz is smaller."""
CHUNK = 1 << 16
_HEAD = struct.Struct("<4sI4s4sIHHI")
WAVE_FORMATS = (1, 3, 0xFFFE)


def pull_recording(board: PushTarget, bank: str, name: str, path: Path) -> str:
    """Write the recording of an installed bank of the board to `path`; return what it is.

    Raises UserError with the board's message, OSError; the old file stays unchanged then.
    """
    require_space(path, CHUNK)
    words = ["bank", "export", f"--recording={name}", "--output=-", "--", bank]
    heads: list[bytes] = []
    with ssh_call(board, shlex.join(words), ask=True) as call:
        call.stdin.close()
        write_atomically(path, lambda file: heads.append(_receive(board, call, file)))
    _, _, _, _, _, _, channels, rate_hz = _HEAD.unpack(heads[0])
    return f"{channels} {'channel' if channels == 1 else 'channels'}, {rate_hz} Hz"


def _receive(board: PushTarget, call: SshCall, file: BinaryIO) -> bytes:
    """Copy to the file; return the head of the WAV. Raises UserError, OSError."""
    head, size = b"", 0
    while chunk := call.stdout.read(CHUNK):
        head += chunk[: _HEAD.size - len(head)]
        size += len(chunk)
        if size > MAX_BYTES:
            raise UserError(f"{board.name}: sends more than {MAX_BYTES >> 20} MB: no recording")
        file.write(chunk)
    status, last = call.end()
    if status:
        raise UserError(f"{board.name}: {last or f'ssh exited with status {status}'}")
    if not _is_wave(head, size):
        raise UserError(f"{board.name}: sent no complete WAV file; is its nverb as new as this?")
    return head


def _is_wave(head: bytes, size: int) -> bool:
    """Whether the bytes begin as a WAV of this size."""
    if len(head) < _HEAD.size:
        return False
    riff, rest, wave, form, _, kind, channels, rate_hz = _HEAD.unpack(head)
    return (
        (riff, wave, form) == (b"RIFF", b"WAVE", b"fmt ")
        and rest + 8 == size
        and kind in WAVE_FORMATS
        and 1 <= channels <= 64
        and rate_hz > 0
    )
