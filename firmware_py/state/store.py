"""The store: installed banks and models, which of them are active, and which were before.

    DATA/store/
      slots/NAME.SHA256.nvbank        a bank, 0440, never changed; SHA256 of the file, in hex
      slots/NAME.SHA256.nvmodel       a model, likewise
      generations/000007/             one state of the pedal, never changed once it is numbered
        bank  -> ../../slots/...      the active bank, if there is one
        model -> ../../slots/...      the active model, if there is one
        plays -> bank or model        the source of the rooms; missing: the built-in rooms
      current -> generations/000007   the only switch, replaced atomically by rename
      incoming/SHA256.part            a file being received: it is resumed, or removed
      .lock                           locked (flock) to change anything but incoming

A name never refers to data that is not on the disk: a file is synced before it is renamed into
`slots`, a slot before a generation links to it, a generation before `current` does. So a power cut
at any moment leaves the old or the new state, complete. Readers take no lock. Nothing depends on
the clock: the newer generation has the larger number.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dsp.errors import InvalidValue, did_you_mean
from dsp.names import composed, name_key, shown
from models.files import refuse_as_root, sync_folder
from models.reading import open_regular, require_regular

KINDS = {"bank": ".nvbank", "model": ".nvmodel"}
MAX_SLOT_BYTES = {"bank": 1 << 29, "model": 80 << 20}
MAX_NAME = 40
KEPT_SLOTS = 6
"""Slots of each kind to keep, the last active ones, in addition to those of presets."""
KEPT_GENERATIONS = 32
"""Generations to keep for rollbacks, if their slots still exist."""
SHORT_HASH = 12
_SLOT = re.compile(
    rf"(?P<name>.{{1,{MAX_NAME}}})\.(?P<sha256>[0-9a-f]{{64}})(?P<suffix>\.nvbank|\.nvmodel)",
    re.DOTALL,
)
_NUMBER = re.compile(r"[0-9]{1,9}")
_HASH = re.compile(r"[0-9a-f]{4,64}")


class StoreError(InvalidValue):
    """Unknown name, no previous state or a damaged slot; the message says which and what to do."""


@dataclass(frozen=True)
class Slot:
    """One installed file. `reference` names it in presets and on the command line: NAME@HASH."""

    path: Path
    kind: str
    name: str
    sha256: str

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.sha256[:SHORT_HASH]}"

    def verify(self) -> None:
        """Check the hash of the file. Raises StoreError if it is damaged, OSError."""
        with open(open_regular(self.path, follow=False), "rb", buffering=0) as file:
            # A sparse file may be longer than all disks: its size is looked at before its bytes.
            size = os.fstat(file.fileno()).st_size
            if size > MAX_SLOT_BYTES[self.kind] or hash_of(file.fileno()) != self.sha256:
                raise StoreError(f"{self.path}: is damaged: install it again")


@dataclass(frozen=True)
class State:
    """A generation: the active slots by kind, and the kind that plays ("": built-in rooms)."""

    slots: Mapping[str, Slot]
    plays: str

    @property
    def playing(self) -> Slot | None:
        """The slot that plays; None: the built-in rooms."""
        return self.slots.get(self.plays)


BUILT_IN = State({}, "")


def hash_of(descriptor: int) -> str:
    """SHA-256 of an open file, in hex; ignores and keeps the file position."""
    digest, at = hashlib.sha256(), 0
    while part := os.pread(descriptor, 1 << 18, at):
        digest.update(part)
        at += len(part)
    return digest.hexdigest()


def slot_name(name: str) -> str:
    """A valid slot name from any name: the base name without suffix and odd characters."""
    stem = re.sub(
        r"\.(nvbank|nvmodel|json|toml)$", "", os.path.basename(name.strip()), flags=re.IGNORECASE
    )
    plain = re.sub(r"[^\w .+-]+|@", "-", composed(stem)).strip(" .-")[:MAX_NAME]
    return plain or "unnamed"


def reference_of(file_name: str, sha256: str) -> str:
    """The reference that a file will have once it is installed."""
    return f"{slot_name(file_name)}@{sha256[:SHORT_HASH]}"


def make_folder(folder: Path) -> None:
    """Create `folder`, inherit the group of its parent, fsync the parent. Raises OSError."""
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
    wanted = folder.parent.stat().st_mode & 0o2770
    if folder.stat().st_mode & 0o2770 != wanted:
        with contextlib.suppress(PermissionError):
            folder.chmod(wanted)


class Store:
    """The store in a data folder. A missing store is empty; the first change creates it."""

    def __init__(self, data: Path) -> None:
        self.root = data / "store"
        self._slots, self._generations = self.root / "slots", self.root / "generations"
        self.incoming = self.root / "incoming"
        self._current = self.root / "current"

    # Reading: by any process, without a lock.

    def current(self) -> State:
        """The active state; the built-in rooms if nothing is installed or `current` is broken."""
        for _ in range(3):  # a generation may be removed during the read
            number = self.number()
            if number is None:
                return BUILT_IN
            with contextlib.suppress(OSError):
                return self._state(number)
        return BUILT_IN

    def states(self) -> Iterator[State]:
        """The active state, then earlier ones, newest first, the built-in rooms last."""
        now = self.number()
        if now is not None:
            for number in (now, *sorted((n for n in self._numbers() if n < now), reverse=True)):
                with contextlib.suppress(OSError):
                    yield self._state(number)
        yield BUILT_IN

    def slots(self) -> list[Slot]:
        """All slots, the last active ones first."""
        found = {
            slot.path.name: slot
            for slot in map(self._slot, _names(self._slots))
            if slot is not None
        }
        ordered: dict[str, Slot] = {}
        for number in sorted(self._numbers(), reverse=True):
            with contextlib.suppress(OSError):
                for slot in self._state(number).slots.values():
                    if slot.path.name in found:
                        ordered.setdefault(slot.path.name, slot)
        return [
            *ordered.values(),
            *(slot for name, slot in sorted(found.items()) if name not in ordered),
        ]

    def find(self, reference: str, kind: str | None = None) -> Slot:
        """The slot of a NAME, NAME@HASH or HASH (4 digits or more).

        If several slots have the name, the last active one. Raises StoreError with similar names.
        """
        slots = [slot for slot in self.slots() if kind in (None, slot.kind)]
        name, at, digest = reference.partition("@")
        found = [slot for slot in slots if name_key(slot.name) == name_key(name)]
        if at:
            found = [
                slot for slot in slots if _HASH.fullmatch(digest) and slot.sha256.startswith(digest)
            ]
        elif not found and _HASH.fullmatch(reference):
            found = [slot for slot in slots if slot.sha256.startswith(reference)]
            if len(found) > 1:
                raise StoreError(f"{reference!r} matches several hashes: give more digits")
        if not found:
            names = dict.fromkeys(slot.name for slot in slots)
            hint = (
                did_you_mean(name, names, count=2, cutoff=0.5)
                if names
                else "nothing is; see `nverb install`"
            )
            raise StoreError(
                f"no {kind or 'bank or model'} {reference[:80]!r} is installed: {hint}"
            )
        if len({slot.kind for slot in found}) > 1:
            raise StoreError(
                f"{name!r} is a bank and a model: "
                f"use {' or '.join(slot.reference for slot in found)}"
            )
        return found[0]

    def nearest(self, reference: str) -> Slot:
        """As `find`, but for a missing NAME@HASH another slot of that name. Raises StoreError."""
        try:
            return self.find(reference)
        except StoreError:
            name, at, _ = reference.partition("@")
            if not at:
                raise
            return self.find(name)

    def with_hash(self, sha256: str) -> Slot | None:
        """The slot of a complete SHA-256, or None."""
        return next((slot for slot in self.slots() if slot.sha256 == sha256), None)

    def _state(self, number: int) -> State:
        """The state of a generation. Raises FileNotFoundError if it does not exist."""
        folder = self._generation(number)
        links = {name: os.readlink(folder / name) for name in os.listdir(folder)}
        slots = {}
        for kind in KINDS:
            slot = self._slot(os.path.basename(links.get(kind, "")))
            if slot is not None and slot.kind == kind:
                slots[kind] = slot
        plays = links.get("plays", "")
        return State(slots, plays if plays in slots else "")

    def _slot(self, name: str) -> Slot | None:
        match = _SLOT.fullmatch(name)
        if not match:
            return None
        kind = next(kind for kind, suffix in KINDS.items() if suffix == match["suffix"])
        return Slot(self._slots / name, kind, shown(match["name"]), match["sha256"])

    def number(self) -> int | None:
        """The number of the active generation, or None."""
        with contextlib.suppress(OSError, ValueError):
            return int(os.path.basename(os.readlink(self._current)))
        return None

    def _numbers(self) -> list[int]:
        return [int(name) for name in _names(self._generations) if _NUMBER.fullmatch(name)]

    def _folders(self) -> list[int]:
        """The numbers of generations that are folders: something else may be in their place."""
        folders = []
        for number in self._numbers():
            with contextlib.suppress(FileNotFoundError):  # a number without its leading zeros
                if stat.S_ISDIR(self._generation(number).lstat().st_mode):
                    folders.append(number)
        return folders

    def _never_active(self) -> list[int]:
        """Generations of a killed installer, made and not switched to: no rollback may reach them.

        A `current` that is missing or leads elsewhere may be damage, so generations then stay, but
        for that of a first switch.
        """
        folders = self._folders()
        try:
            target = Path(os.readlink(self._current))
        except FileNotFoundError:
            return folders if len(folders) == 1 else []
        except OSError:  # not a link
            return []
        here = target.parent == Path("generations") and _NUMBER.fullmatch(target.name)
        return [number for number in folders if here and number > int(target.name)]

    def _generation(self, number: int) -> Path:
        return self._generations / f"{number:06d}"

    # Changing: by the installer, inside `changing()`. An OSError keeps the old state.

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Create the folders and hold the lock; writers wait, readers do not.

        Removes what a killed installer left over.
        """
        refuse_as_root(self.root.parent)
        self.make()
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        lock = os.open(self.root / ".lock", flags, 0o660)
        try:
            require_regular(os.fstat(lock).st_mode, os.fspath(self.root / ".lock"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._require_readable()
            for name in _names(self._generations):
                if name.startswith("."):
                    _remove_generation(self._generations / name)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.root / ".current.new")
            for number in self._never_active():
                _remove_generation(self._generation(number))
            yield
        finally:
            os.close(lock)

    def _require_readable(self) -> None:
        """Raise OSError if the active state cannot be read: a change would lose it.

        Readers take a broken state for none, so that the pedal plays.
        """
        with contextlib.suppress(FileNotFoundError):
            if not self._current.is_symlink():
                return  # missing, or something else in its place: the change mends that
            target = os.readlink(self._current)
            if not _NUMBER.fullmatch(os.path.basename(target)):
                return  # broken, not unreadable: the change mends it
            with contextlib.suppress(NotADirectoryError):
                self._state(int(os.path.basename(target)))
        for slot in self.slots():
            slot.path.lstat()

    def make(self) -> None:
        """Create the folders of the store."""
        for folder in (self.root, self._slots, self._generations, self.incoming):
            make_folder(folder)

    def add(self, part: Path, kind: str, name: str, sha256: str) -> Slot:
        """Move a complete, checked and synced file from `incoming` into `slots`.

        A slot with this content keeps its name; its file is replaced, which repairs damage.
        """
        slot = self.with_hash(sha256) or self._slot(f"{slot_name(name)}.{sha256}{KINDS[kind]}")
        assert slot is not None
        os.rename(part, slot.path)
        sync_folder(self._slots)
        return slot

    def switch(self, state: State) -> None:
        """Make a state active. To undo it, pass the earlier number() to take_back()."""
        number = max(self._numbers(), default=0) + 1
        fresh = self._generations / f".{number:06d}.new"
        make_folder(fresh)
        for kind, slot in state.slots.items():
            os.symlink(os.path.join("..", "..", "slots", slot.path.name), fresh / kind)
        if state.plays:
            os.symlink(state.plays, fresh / "plays")
        sync_folder(fresh)
        os.rename(fresh, self._generation(number))
        sync_folder(self._generations)
        self._point(number)

    def take_back(self, before: int | None) -> None:
        """Undo the last switch: activate generation `before` again and remove the failed one."""
        failed = self.number()
        if before is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._current)
            sync_folder(self.root)
        else:
            self._point(before)
        if failed is not None and failed != before:
            _remove_generation(self._generation(failed))

    def _point(self, number: int) -> None:
        link = self.root / ".current.new"
        os.symlink(os.path.join("generations", f"{number:06d}"), link)
        if self._current.is_dir() and not self._current.is_symlink():
            os.rmdir(self._current)  # not ours: in the way of the rename
        os.rename(link, self._current)
        sync_folder(self.root)

    def before(self, kind: str) -> State:
        """The state to roll back to: the active one, but with the previous bank or model playing.

        A second rollback undoes the first. Raises StoreError if there was none.
        """
        now = self.current()
        for state in self.states():
            slot = state.slots.get(kind)
            if slot == now.slots.get(kind) or (slot is not None and not slot.path.exists()):
                continue
            slots = {other: s for other, s in now.slots.items() if other != kind}
            if slot is not None:
                return State(slots | {kind: slot}, kind)
            return State(slots, state.plays if state.plays in slots else "")
        raise StoreError(f"no {kind} was active before: there is nothing to roll back to")

    def remove(self, slot: Slot) -> None:
        """Delete a slot and the generations that name it. Raises StoreError if it plays."""
        now = self.current()
        if slot == now.playing:
            raise StoreError(f"{slot.reference} plays: `nverb use` another one or built-in first")
        if slot in now.slots.values():
            others = {kind: other for kind, other in now.slots.items() if other != slot}
            self.switch(State(others, now.plays))
        for number in self._folders():
            if slot in self._state(number).slots.values():
                _remove_generation(self._generation(number))
        os.unlink(slot.path)
        sync_folder(self._slots)

    def prune(self, wanted: Iterable[str], kept: int = KEPT_SLOTS) -> None:
        """Delete slots, except the last `kept` active ones of each kind and those in `wanted`.

        wanted: references from presets.
        """
        keep: dict[str, set[Slot]] = {kind: set() for kind in KINDS}
        now = self.number()
        for place, number in enumerate(sorted(self._folders(), key=lambda n: (n != now, -n))):
            slots = self._state(number).slots
            new = [
                slot
                for kind, slot in slots.items()
                if slot not in keep[kind] and len(keep[kind]) < kept
            ]
            for slot in new:
                keep[slot.kind].add(slot)
            is_past = place < KEPT_GENERATIONS and all(
                slot in keep[kind] for kind, slot in slots.items()
            )
            if not (number == now or new or is_past):
                _remove_generation(self._generation(number))
        everything = self.slots()
        kept_slots = set().union(*keep.values())
        for reference in wanted:
            with contextlib.suppress(StoreError):
                kept_slots.add(self.find(reference))
        for slot in everything:
            if slot not in kept_slots:
                os.unlink(slot.path)
        if len(kept_slots) < len(everything):
            sync_folder(self._slots)


def _names(folder: Path) -> list[str]:
    """The names in a folder; none if it does not exist."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_generation(folder: Path) -> None:
    """Rename a generation to a hidden name first, so that no reader sees it half removed."""
    gone = folder
    if not folder.name.startswith("."):
        gone = folder.with_name(f".{folder.name}.gone")
        os.rename(folder, gone)
    for name in _names(gone):
        os.unlink(gone / name)
    os.rmdir(gone)
