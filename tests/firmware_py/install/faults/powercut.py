"""The states that a power cut may leave, built from the recorded calls of an installer.

A kill keeps all writes; a power cut also loses writes that were not synced, in any order. The model
is stricter than the file systems in use (after ALICE, Pillai et al., OSDI 2014):

| call                           | durable after                                                   |
|--------------------------------|-----------------------------------------------------------------|
| write, truncate                | fsync of the file; before it each may be lost, kept, or leave   |
|                                | zeros of its length                                             |
| create, mkdir, symlink, unlink | fsync of the folder; before it any subset may have happened     |
| rename                         | fsync of either folder; it happens completely or not at all     |

In each state the pedal must play the old or the new bank. Run by sweep.py, in the process that has
faults.c preloaded.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_SUBSETS = 128
"""Most subsets of unsynced names to try at one moment; beyond that a random choice."""
DATA = ("lost", "kept", "half", "zeros")


@dataclass
class Inode:
    """A file, a folder (`names`) or a link (`target`): its present and its durable content."""

    number: int
    target: str | None = None
    names: dict[str, int] | None = None
    lasting_names: dict[str, int] = field(default_factory=dict)
    lasting: bytes = b""
    writes: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Unsynced writes: offset and data; None: truncate to the offset."""

    def content(self, choice: str) -> bytes:
        data = bytearray(self.lasting)
        writes = self.writes
        if choice == "lost":
            writes = []
        elif choice == "half":
            writes = writes[: len(writes) // 2]
        for offset, piece in writes:
            if piece is None:
                del data[offset:]
            else:
                data[len(data) : offset] = bytes(max(0, offset - len(data)))
                data[offset : offset + len(piece)] = (
                    bytes(len(piece)) if choice == "zeros" else piece
                )
        return bytes(data)


@dataclass(frozen=True)
class Change:
    """A change of names, atomic: (folder, name, inode or None)."""

    names: tuple[tuple[int, str, int | None], ...]

    def touches(self, folder: int) -> bool:
        return any(where == folder for where, _, _ in self.names)

    def meets(self, other: Change) -> bool:
        return bool({(f, n) for f, n, _ in self.names} & {(f, n) for f, n, _ in other.names})


class Disk:
    """A folder whose initial content is durable, and the calls on it."""

    def __init__(self, folder: Path) -> None:
        self._root = os.fspath(folder)
        self._inodes: dict[int, Inode] = {}
        self._pending: list[Change] = []
        self._top = self._load(folder)

    def _load(self, path: Path) -> int:
        inode = self._new()
        if path.is_symlink():
            inode.target = os.readlink(path)
        elif path.is_dir():
            inode.names = {child.name: self._load(child) for child in path.iterdir()}
            inode.lasting_names = dict(inode.names)
        else:
            inode.lasting = path.read_bytes()
        return inode.number

    def _new(self) -> Inode:
        inode = Inode(len(self._inodes))
        self._inodes[inode.number] = inode
        return inode

    def _folder_of(self, path: str) -> tuple[Inode, str]:
        parts = os.path.relpath(path, self._root).split(os.sep)
        inode = self._inodes[self._top]
        for part in parts[:-1]:
            assert inode.names is not None, path
            inode = self._inodes[inode.names[part]]
        return inode, parts[-1]

    def _at(self, path: str) -> Inode:
        if path == self._root:
            return self._inodes[self._top]
        folder, name = self._folder_of(path)
        assert folder.names is not None
        return self._inodes[folder.names[name]]

    def _change(self, *names: tuple[Inode, str, int | None]) -> None:
        for folder, name, number in names:
            assert folder.names is not None
            if number is None:
                del folder.names[name]
            else:
                folder.names[name] = number
        self._pending.append(
            Change(tuple((folder.number, name, number) for folder, name, number in names))
        )

    def do(self, call: str, path: str, path2: str, offset: int, data: bytes) -> None:
        """Apply one recorded call."""
        if call in ("create", "mkdir", "symlink"):
            folder, name = self._folder_of(path)
            assert folder.names is not None
            if call == "create" and name in folder.names:  # truncated by open
                self._at(path).writes.append((0, None))
                return
            inode = self._new()
            if call == "mkdir":
                inode.names = {}
            elif call == "symlink":
                inode.target = path2
            self._change((folder, name, inode.number))
        elif call in ("unlink", "rmdir"):
            self._change((*self._folder_of(path), None))
        elif call in ("rename", "link"):
            inode = self._at(path)
            names = [(*self._folder_of(path2), inode.number)]
            self._change(*names, *([(*self._folder_of(path), None)] if call == "rename" else []))
        elif call == "write":
            self._at(path).writes.append((offset, data))
        elif call == "truncate":
            self._at(path).writes.append((offset, None))
        elif call == "fsync":
            inode = self._at(path)
            if inode.names is None:
                inode.lasting, inode.writes = inode.content("kept"), []
            else:
                self._sync(inode.number)
        else:
            assert call == "chmod", call

    def _sync(self, folder: int) -> None:
        for change in [change for change in self._pending if change.touches(folder)]:
            # Earlier changes of the same names happened too.
            for earlier in list(self._pending[: self._pending.index(change) + 1]):
                if earlier is change or earlier.meets(change):
                    _apply(earlier, {n: inode.lasting_names for n, inode in self._inodes.items()})
                    self._pending.remove(earlier)

    def cuts(self, chance: random.Random) -> Iterator[tuple[dict[int, dict[str, int]], str]]:
        """The states after a power cut now: names by folder, and the fate of unsynced data."""
        count = len(self._pending)
        if 2**count <= MAX_SUBSETS:
            subsets: list[tuple[bool, ...]] = list(itertools.product((False, True), repeat=count))
        else:
            subsets = [
                tuple(place < length for place in range(count)) for length in range(count + 1)
            ]
            subsets += [
                tuple(chance.random() < 0.5 for _ in range(count)) for _ in range(MAX_SUBSETS)
            ]
        choices = DATA if any(inode.writes for inode in self._inodes.values()) else DATA[:1]
        for subset in subsets:
            names = {number: dict(inode.lasting_names) for number, inode in self._inodes.items()}
            for change, happened in zip(self._pending, subset, strict=True):
                if happened:
                    _apply(change, names)
            for choice in choices:
                yield names, choice

    def fingerprint(self, names: dict[int, dict[str, int]], choice: str) -> str:
        digest = hashlib.sha256()

        def walk(number: int) -> None:
            inode = self._inodes[number]
            if inode.names is not None:
                for name in sorted(names[number]):
                    digest.update(b"\1" + name.encode())
                    walk(names[number][name])
                digest.update(b"\2")
            elif inode.target is not None:
                digest.update(b"\3" + inode.target.encode())
            else:
                content = inode.content(choice)
                digest.update(b"\4%d" % len(content) + hashlib.sha256(content).digest())

        walk(self._top)
        return digest.hexdigest()

    def leave(self, folder: Path, names: dict[int, dict[str, int]], choice: str) -> None:
        """Write a state to a real folder."""
        shutil.rmtree(folder, ignore_errors=True)

        def write(number: int, path: Path) -> None:
            inode = self._inodes[number]
            if inode.names is not None:
                path.mkdir()
                for name, child in names[number].items():
                    write(child, path / name)
            elif inode.target is not None:
                path.symlink_to(inode.target)
            else:
                path.write_bytes(inode.content(choice))

        write(self._top, folder)


def _apply(change: Change, names: dict[int, dict[str, int]]) -> None:
    for folder, name, number in change.names:
        if number is None:
            names[folder].pop(name, None)
        else:
            names[folder][name] = number


def recorded(log: Path) -> Iterator[tuple[str, str, str, int, bytes]]:
    """The calls in a log of faults.c."""
    for line in log.read_text().splitlines():
        call, path, path2, offset, data = line.split("\t")
        yield call, path, path2, int(offset), bytes.fromhex(data)
