"""The store: the banks and models that were installed, which of them play, and which did before.

    DATA/store/
      slots/NAME.SHA256.nvbank        a bank, 0444, never changed; SHA256 is that of the whole file, in hex
      slots/NAME.SHA256.nvmodel       a model, likewise
      generations/000007/             one state of the pedal, never changed once it has its number
        bank  -> ../../slots/...      the bank in use, if there is one
        model -> ../../slots/...      the model in use, if there is one
        plays -> bank or model        which of the two the rooms come from; without it from the built-in ones
      current -> generations/000007   the only switch: replaced by rename, so that it is the old or the new at every instant
      incoming/SHA256.part            what is being received: goes on from where it broke off, or is removed
      .lock                           held (flock) by whoever changes anything but incoming

Everything that a name stands for is on the disk before the name is: a file is synced before it is renamed into `slots`, a slot
before a generation links to it, a generation before `current` does. So a power cut at any moment leaves either state, whole.
Readers take no lock. Nothing here depends on the clock: what is newer has the larger number.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dsp.errors import InvalidValue, did_you_mean
from models.files import sync_folder

KINDS = {"bank": ".nvbank", "model": ".nvmodel"}
MAX_NAME = 40
KEPT_SLOTS = 6
"""Of each kind, beyond those that presets name: the last ones in use stay."""
KEPT_GENERATIONS = 32
"""For rollbacks, as far as their slots are there."""
SHORT_HASH = 12
_SLOT = re.compile(
    rf"(?P<name>.{{1,{MAX_NAME}}})\.(?P<sha256>[0-9a-f]{{64}})(?P<suffix>\.nvbank|\.nvmodel)",
    re.DOTALL,
)
_HASH = re.compile(r"[0-9a-f]{4,64}")


class StoreError(InvalidValue):
    """Nothing of that name, nothing to go back to, or a damaged slot: the message says which, and what to do."""


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
        """Reads every byte. Raises StoreError when they are not those that were installed, OSError when the disk fails."""
        with open(self.path, "rb", buffering=0) as file:
            if hash_of(file.fileno()) != self.sha256:
                raise StoreError(f"{self.path}: is damaged: install it again")


@dataclass(frozen=True)
class State:
    """What a generation says: the slots in use by kind, and the kind that plays ("" for the built-in rooms)."""

    slots: Mapping[str, Slot]
    plays: str

    @property
    def playing(self) -> Slot | None:
        return self.slots.get(self.plays)


BUILT_IN = State({}, "")


def hash_of(descriptor: int) -> str:
    """SHA-256, in hex, of all that can be read from a file from its start on; its position is not used."""
    digest, at = hashlib.sha256(), 0
    while part := os.pread(descriptor, 1 << 18, at):
        digest.update(part)
        at += len(part)
    return digest.hexdigest()


def slot_name(name: str) -> str:
    """A name that a slot can have, made from a file's or a person's: its last part, without suffix, with plain characters only."""
    stem = re.sub(
        r"\.(nvbank|nvmodel|json|toml)$", "", os.path.basename(name.strip()), flags=re.IGNORECASE
    )
    plain = re.sub(r"[^\w .+-]+|@", "-", stem).strip(" .-")[:MAX_NAME]
    return plain or "unnamed"


def make_folder(folder: Path) -> None:
    """Makes a folder, for whom the one that it lies in is, and makes it last. Raises OSError."""
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
    wanted = folder.parent.stat().st_mode & 0o2770
    if folder.stat().st_mode & 0o2770 != wanted:
        with contextlib.suppress(PermissionError):
            folder.chmod(wanted)


class Store:
    """The store in a data folder. It need not exist: then it is empty, and the first change makes it."""

    def __init__(self, data: Path) -> None:
        self.root = data / "store"
        self._slots, self._generations = self.root / "slots", self.root / "generations"
        self.incoming = self.root / "incoming"
        self._current = self.root / "current"

    # What is there. Called by any process, without a lock.

    def current(self) -> State:
        """The state in force; the built-in rooms when nothing was installed, or `current` leads nowhere."""
        for _ in range(3):  # the generation may be replaced and removed while we read it
            number = self.number()
            if number is None:
                return BUILT_IN
            with contextlib.suppress(OSError):
                return self._state(number)
        return BUILT_IN

    def states(self) -> Iterator[State]:
        """The state in force, then those before it, newest first, the built-in rooms last."""
        now = self.number()
        if now is not None:
            for number in (now, *sorted((n for n in self._numbers() if n < now), reverse=True)):
                with contextlib.suppress(OSError):
                    yield self._state(number)
        yield BUILT_IN

    def slots(self) -> list[Slot]:
        """All slots, those in use last come first."""
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
        """The slot that a person or a preset means by NAME, NAME@HASH or HASH (4 digits or more); if a name has several, the one that
        was in use last. Raises StoreError naming the nearest."""
        slots = [slot for slot in self.slots() if kind in (None, slot.kind)]
        name, at, digest = reference.partition("@")
        found = [slot for slot in slots if slot.name.casefold() == name.casefold()]
        if at:
            found = [
                slot for slot in slots if _HASH.fullmatch(digest) and slot.sha256.startswith(digest)
            ]
        elif not found and _HASH.fullmatch(reference):
            found = [slot for slot in slots if slot.sha256.startswith(reference)]
            if len(found) > 1:
                raise StoreError(f"{reference!r} begins more than one hash: give more of it")
        if not found:
            names = dict.fromkeys(slot.name for slot in slots)
            hint = did_you_mean(name, names, count=2, cutoff=0.5) if names else "none is there"
            raise StoreError(
                f"no {kind or 'bank or model'} {reference[:80]!r} is installed: {hint}"
            )
        if len({slot.kind for slot in found}) > 1:
            raise StoreError(
                f"{name!r} is a bank and a model: say which by {' or '.join(s.reference for s in found)}"
            )
        return found[0]

    def nearest(self, reference: str) -> Slot:
        """As `find`, but where the very slot of a NAME@HASH is gone, another version of that name does. Raises StoreError."""
        try:
            return self.find(reference)
        except StoreError:
            name, at, _ = reference.partition("@")
            if not at:
                raise
            return self.find(name)

    def with_hash(self, sha256: str) -> Slot | None:
        return next((slot for slot in self.slots() if slot.sha256 == sha256), None)

    def _state(self, number: int) -> State:
        """Raises FileNotFoundError where there is no such generation."""
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
        return Slot(self._slots / name, kind, match["name"], match["sha256"])

    def number(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int(os.path.basename(os.readlink(self._current)))
        return None

    def _numbers(self) -> list[int]:
        return [int(name) for name in _names(self._generations) if name.isdecimal()]

    def _generation(self, number: int) -> Path:
        return self._generations / f"{number:06d}"

    # What changes it. Called by the installer, which holds `changing()`. All raise OSError, and leave the old state then.

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Makes the store's folders and holds its lock; others wait, readers do not. Cleans up after one that was killed."""
        self.make()
        lock = os.open(self.root / ".lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o660)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for name in _names(self._generations):
                if name.startswith("."):
                    _remove_generation(self._generations / name)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.root / ".current.new")
            yield
        finally:
            os.close(lock)

    def make(self) -> None:
        for folder in (self.root, self._slots, self._generations, self.incoming):
            make_folder(folder)

    def add(self, part: Path, kind: str, name: str, sha256: str) -> Slot:
        """Takes in a file of `incoming` that is whole, checked and synced. What is here already keeps its name, and is repaired if it
        was damaged."""
        slot = self.with_hash(sha256) or self._slot(f"{slot_name(name)}.{sha256}{KINDS[kind]}")
        assert slot is not None
        os.rename(part, slot.path)
        sync_folder(self._slots)
        return slot

    def switch(self, state: State) -> None:
        """Puts a state in force. The `number` from before is what `take_back` needs."""
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
        """Undoes the last switch, which went wrong: the state before it is in force again, and the wrong one is forgotten."""
        wrong = self.number()
        if before is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._current)
            sync_folder(self.root)
        else:
            self._point(before)
        if wrong is not None and wrong != before:
            _remove_generation(self._generation(wrong))

    def _point(self, number: int) -> None:
        link = self.root / ".current.new"
        os.symlink(os.path.join("generations", f"{number:06d}"), link)
        os.rename(link, self._current)
        sync_folder(self.root)

    def before(self, kind: str) -> State:
        """The state to roll back to: as now, but with the bank (or model) that was in use before this one, and playing it.

        So a second rollback undoes the first. Raises StoreError when there was none.
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
        raise StoreError(f"no {kind} was in use before: there is nothing to roll back to")

    def remove(self, slot: Slot) -> None:
        """Deletes a slot that is not in use, and the generations that name it. Raises StoreError for one that is."""
        if slot in self.current().slots.values():
            raise StoreError(f"{slot.reference} is in use: `nverb use` another one first")
        for number in self._numbers():
            if slot in self._state(number).slots.values():
                _remove_generation(self._generation(number))
        os.unlink(slot.path)
        sync_folder(self._slots)

    def prune(self, wanted: Iterable[str], kept: int = KEPT_SLOTS) -> None:
        """Deletes slots beyond the last `kept` in use of each kind, but none in `wanted` (references, as presets hold them)."""
        keep: dict[str, set[Slot]] = {kind: set() for kind in KINDS}
        now = self.number()
        for place, number in enumerate(sorted(self._numbers(), key=lambda n: (n != now, -n))):
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
        held = set().union(*keep.values())
        for reference in wanted:
            with contextlib.suppress(StoreError):
                held.add(self.find(reference))
        for slot in everything:
            if slot not in held:
                os.unlink(slot.path)
        if len(held) < len(everything):
            sync_folder(self._slots)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_generation(folder: Path) -> None:
    """Under a name that is none first: a half-removed generation is never read as one."""
    gone = folder
    if not folder.name.startswith("."):
        gone = folder.with_name(f".{folder.name}.gone")
        os.rename(folder, gone)
    for name in _names(gone):
        os.unlink(gone / name)
    os.rmdir(gone)
