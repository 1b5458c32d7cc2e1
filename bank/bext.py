"""WAV files, 32-bit float, with a `bext` chunk: who recorded what and when (EBU Tech 3285)."""

from __future__ import annotations

import struct
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from models.files import write_atomically

Floats = NDArray[np.float32]

_BEXT = struct.Struct("<256s32s32s10s8sIIH254s")


def write_broadcast_wave(
    path: Path,
    samples: Floats,
    rate_hz: int,
    *,
    description: str,
    history: str,
    at: datetime,
    originator: str,
) -> None:
    """Write (channels, frames) atomically. Texts become ASCII. Raises OSError."""
    channels, frames = samples.shape
    data = np.ascontiguousarray(samples.T, "<f4").tobytes()
    bext = _BEXT.pack(
        _ascii(description),
        _ascii(originator),
        b"",
        at.strftime("%Y-%m-%d").encode(),
        at.strftime("%H:%M:%S").encode(),
        *(0, 0, 1, b""),
    ) + _ascii(history)
    chunks = [
        (b"bext", bext),
        # 3: IEEE float
        (b"fmt ", struct.pack("<HHIIHHH", 3, channels, rate_hz, rate_hz * channels * 4,
                              channels * 4, 32, 0)),
        (b"fact", struct.pack("<I", frames)),
        (b"data", data),
    ]  # fmt: skip
    body = b"WAVE" + b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for name, content in chunks
    )

    def write(file: BinaryIO) -> None:
        file.write(b"RIFF" + struct.pack("<I", len(body)) + body)

    write_atomically(path, write)


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")
