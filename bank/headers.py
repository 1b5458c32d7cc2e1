"""What the header of a sound file promises: how many bytes of sound, and what its channels are.

libsndfile reads what is there and does not tell that the file is only a part. It also refuses some
files that recorders write: `rebuilt` puts those in order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from models.reading import open_regular

AMBISONIC_GUIDS = tuple(
    bytes.fromhex(f"{kind:02x}000000" + "2107d3118644c8c1ca000000") for kind in (1, 3)
)
"""WAVE_FORMAT_EXTENSIBLE's subformats of B-format files (.amb), PCM and float."""
UNKNOWN_BYTES = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000)
"""Lengths of data that stand for "unknown": the file was written to a pipe."""
MAX_CHUNKS, MAX_REBUILT_BYTES = 1000, 512 << 20


@dataclass(frozen=True)
class Header:
    """`promised`: bytes of sound by the header, None if it does not say; `found`: bytes of it that
    are in the file."""

    promised: int | None = None
    found: int = 0
    ambisonic: bool = False

    @property
    def share(self) -> float:
        """The share of the promised sound that is in the file, 0 .. 1."""
        return min(self.found / self.promised, 1.0) if self.promised else 1.0


def read_header(path: Path) -> Header:
    """The header of a WAV, RF64, W64, AIFF, CAF or AU file; of another, one that promises nothing.

    Raises OSError.
    """
    with open(open_regular(path), "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(64)
        try:
            if start[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and start[8:12] == b"WAVE":
                return _riff(file, size, ">" if start[:4] == b"RIFX" else "<")
            if start[:4] == b"FORM":
                return _aiff(file, size)
            if start[:4] == b"riff" and start[24:28] == b"wave":
                return _w64(file, size)
            if start[:4] == b"caff":
                return _caf(file, size)
            if start[:4] == b".snd":
                at, length = struct.unpack(">II", start[4:12])
                return Header(None if length in UNKNOWN_BYTES else length, max(size - at, 0))
        except struct.error:
            pass
    return Header()


def _chunks(file: BinaryIO, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and length of each chunk of a RIFF file; a missing pad byte is forgiven."""
    at = 12
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        name, length = head[:4], int(struct.unpack(order + "I", head[4:])[0])
        yield name, at + 8, length
        at += 8 + length
        if length % 2:
            file.seek(at)
            following = file.read(5)
            padded = following[:1] == b"\0" or not following[:4].isascii()
            at += 1 if padded or not following[:4].strip().isalnum() else 0
        if at >= size:
            return


def _riff(file: BinaryIO, size: int, order: str) -> Header:
    promised: int | None = None
    found, long_bytes, ambisonic = 0, 0, False
    for name, at, length in _chunks(file, size, order):
        file.seek(at)
        if name == b"ds64":
            long_bytes = int(struct.unpack("<Q", file.read(24)[8:16])[0])
        elif name == b"fmt ":
            about = file.read(min(length, 40))
            ambisonic = about[24:40] in AMBISONIC_GUIDS
        elif name == b"data":
            promised, found = length, max(size - at, 0)
            if length == 0xFFFFFFFF and long_bytes:
                promised = long_bytes
            elif length in UNKNOWN_BYTES:
                promised = None
            break
    return Header(promised, found, ambisonic)


def _aiff(file: BinaryIO, size: int) -> Header:
    for name, at, length in _chunks(file, size, ">"):
        if name == b"SSND":
            return Header(max(length - 8, 0) or None, max(size - at - 8, 0))
    return Header()


def _w64(file: BinaryIO, size: int) -> Header:
    at = 40
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        head = file.read(24)
        length = int(struct.unpack("<Q", head[16:24])[0])
        if head[:4] == b"data":
            return Header(max(length - 24, 0) or None, max(size - at - 24, 0))
        at += max((length + 7) // 8 * 8, 24)
    return Header()


def _caf(file: BinaryIO, size: int) -> Header:
    at = 8
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        name, length = struct.unpack(">4sq", file.read(12))
        if name == b"data":
            return Header(length if length > 0 else None, max(size - at - 12, 0))
        at += 12 + max(length, 0)
    return Header()


def rebuilt(path: Path) -> bytes | None:
    """The file in an order that libsndfile reads, or None if that is not needed or not possible.

    WAV: for lengths of 0, a chunk without its pad byte, sound in two chunks. CAF: for a part of a
    file. Raises OSError.
    """
    with open(open_regular(path), "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(12)
        if start[:4] == b"caff" and size <= MAX_REBUILT_BYTES:
            found = _caf(file, size).found
            file.seek(0)
            data = file.read()
            return data[: size - found - 8] + struct.pack(">q", found) + data[size - found :]
        if start[:4] != b"RIFF" or start[8:] != b"WAVE" or size > MAX_REBUILT_BYTES:
            return None
        about, sound = b"", []
        for name, at, length in _chunks(file, size, "<"):
            file.seek(at)
            if name == b"fmt ":
                about = file.read(min(length, 1024))
            elif name == b"data":
                unknown = length in UNKNOWN_BYTES
                sound.append(file.read(size - at if unknown else length))
                if unknown:
                    break
    data = b"".join(sound)
    if not about or not data:
        return None
    chunks = b"".join(
        tag + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2)
        for tag, part in ((b"fmt ", about), (b"data", data))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
