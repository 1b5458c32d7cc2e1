"""Keeps the finished parts of a long build beside its result, so that a break costs little.

The file: 32 bytes that identify the work, then each part in order: its length and CRC-32 (two
little-endian 32-bit numbers) and its bytes. A part that was being written when the power went is
left out.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

HEAD = struct.Struct("<II")
MAX_PART_BYTES = 1 << 28


def parts_path(path: Path) -> Path:
    """The file with the finished parts of `path`."""
    return path.with_name(f".{path.name[:200]}.parts")


class FinishedParts:
    """The finished parts of a build, on the disk."""

    def __init__(self, path: Path, key: bytes) -> None:
        """`key`: 32 bytes that are equal for equal work. Those of other work are dropped."""
        self.path = parts_path(path)
        self._file: BinaryIO = os.fdopen(
            os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+b"
        )
        self._ends = [len(key)]
        if self._file.read(len(key)) == key:
            while (part := self._next()) is not None:
                self._ends.append(self._ends[-1] + HEAD.size + len(part))
        else:
            self._file.seek(0)
            self._file.write(key)
        self._file.truncate(self._ends[-1])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _next(self) -> bytes | None:
        head = self._file.read(HEAD.size)
        if len(head) < HEAD.size:
            return None
        length, check = HEAD.unpack(head)
        part = self._file.read(length) if length <= MAX_PART_BYTES else b""
        return part if len(part) == length and zlib.crc32(part) == check else None

    def add(self, part: bytes) -> None:
        """Keep a finished part. Raises OSError."""
        self._file.seek(self._ends[-1])
        self._file.write(HEAD.pack(len(part), zlib.crc32(part)) + part)
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._ends.append(self._ends[-1] + HEAD.size + len(part))

    def read(self, number: int) -> bytes:
        """A finished part."""
        begin = self._ends[number] + HEAD.size
        return os.pread(self._file.fileno(), self._ends[number + 1] - begin, begin)

    def __enter__(self) -> FinishedParts:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the file; remove it, unless an exception broke the build."""
        self._file.close()
        if kind is None:
            self.path.unlink(missing_ok=True)


def completed(
    parts: FinishedParts, total: int, rest: Callable[[int], Iterator[bytes]]
) -> Iterator[tuple[int, bytes]]:
    """All `total` parts in order, with their numbers: the kept ones, then those of `rest`, which
    gets the number of the first one to make. Each is kept as it comes."""
    for number in range(len(parts)):
        yield number, parts.read(number)
    if len(parts) < total:
        for part in rest(len(parts)):
            parts.add(part)
            yield len(parts) - 1, part
