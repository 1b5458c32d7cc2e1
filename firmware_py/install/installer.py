"""Install banks, models, presets and profiles, and choose among the installed ones.

The stages of an installation. After a kill, a power cut or an error at any point either the old or
the new one is active, complete, and the pedal keeps playing.

| stage   | what happens                                              | if it fails               |
|---------|-----------------------------------------------------------|---------------------------|
| receive | into `incoming`, hashed; rejected at the first wrong byte | kept if it can be resumed |
| verify  | synced, read back from disk; hash and signature checked   | removed                   |
| trial   | in a child process: open it and make rooms                | removed                   |
| switch  | into `slots`, a generation that names it, then `current`  | `current` stays           |
| check   | open it again as the pedal does, make a room              | roll back; remove the new |
| live    | the control process plays it                              | roll back; remove the new |

Runs in its own process, as the user that owns the data folder: see firmware_py.install.protocol
for how other processes reach it, firmware_py.state.store for the folders.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

from dsp.errors import UserError, reason
from dsp.names import name_key
from firmware_py.base.progress import Report
from firmware_py.install.receive import (
    MAX_BYTES,
    STDIN,
    Chunks,
    Offer,
    banks_of_presets,
    part_file,
    receive_file,
)
from firmware_py.state.preset_file import PresetError, parse_presets
from firmware_py.state.presets import Presets
from firmware_py.state.store import (
    KINDS,
    Slot,
    State,
    Store,
    StoreError,
    hash_of,
    make_folder,
    slot_name,
)

BUILT_IN_NAME = "built-in"


def install(
    offer: Offer,
    receive: Callable[[int], Chunks],
    *,
    data: Path,
    report: Report,
    live: Callable[[], str],
) -> str:
    """Install what `receive(at)` yields, the content from byte `at` on; return the result.

    live: make the running pedal play the active state of the store; returns the outcome as a verb,
    raises UserError if the pedal refuses. Raises UserError, ValueError or OSError: then the old
    state is active, unless the message says that the disk failed before it could be restored.
    """
    from firmware_py.install import signatures

    if (is_signed := signatures.is_required(data)) and not offer.signature:
        raise UserError(
            f"{offer.name}: is not signed, and this board accepts signed files only: "
            "sign it with `ssh-keygen -Y sign -n nverb -f KEY FILE`, or push it with --sign KEY"
        )
    store = Store(data)
    with _explained(data):
        store.make()
        known = store.with_hash(offer.sha256) if offer.sha256 else None
        if known is not None and known.kind == (offer.kind or known.kind) and _is_intact(known):
            if is_signed:
                with open(known.path, "rb") as file:
                    signatures.verify(data, file.fileno(), offer.signature)
            for _ in receive(known.path.stat().st_size):
                raise UserError(f"{offer.name}: more bytes arrived than announced")
            with store.changing():
                return _activate(store, known, report, live, is_new=False)
        with part_file(store, offer) as (path, file):
            kind, digest = receive_file(offer, file, receive, store, report)
            report.progress("verifying", 0, 0)
            os.fsync(file)
            # Drop the page cache, so that the bytes are read back from the disk.
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            if hash_of(file) != digest:
                raise UserError(
                    f"{offer.name}: the disk returned other bytes than were written: "
                    "it may be failing; replace it"
                )
            if is_signed:
                report.note(f"signed by {signatures.verify(data, file, offer.signature)}")
            if kind in KINDS:
                _try(path, offer.name, report)
                name = offer.name if offer.name != STDIN else _own_name(path, kind)
                os.fchmod(file, 0o440)
                os.fsync(file)
                with store.changing():
                    before = set(store.slots())
                    slot = store.add(path, kind, name, digest)
                    return _activate(store, slot, report, live, is_new=slot not in before)
            content = os.pread(file, MAX_BYTES[kind] + 1, 0)
        if kind == "preset":
            return _install_presets(content, offer, data, store, report)
        return _install_profile(content, offer, data)


def _is_intact(slot: Slot) -> bool:
    try:
        slot.verify()
    except (StoreError, OSError):
        return False
    return True


def _try(path: Path, name: str, report: Report) -> None:
    from firmware_py.install import trial

    report.progress("trying", 0, 0)
    trial.prepare()
    try:
        trial.run(lambda: trial.check(path))
    except ValueError as error:
        raise UserError(
            f"{name}: {str(error).replace(f'{path}: ', '').replace(str(path), 'it')}"
        ) from None


def _own_name(path: Path, kind: str) -> str:
    """The name in the header of a bank or model that has passed its trial."""
    if kind == "bank":
        from bank.format import Bank

        return Bank.open(path).name
    from models import container

    return container.read(path).description.name


def _activate(
    store: Store, slot: Slot, report: Report, live: Callable[[], str], *, is_new: bool
) -> str:
    """Make a slot active and remove old ones. Called with the lock of the store held."""
    now = store.current()
    try:
        how = _switch(store, State({**now.slots, slot.kind: slot}, slot.kind), report, live)
    except BaseException:
        if is_new:
            with contextlib.suppress(StoreError, OSError):
                store.remove(slot)
        raise
    try:
        store.prune(banks_of_presets(store.root.parent))
    except (OSError, PresetError) as error:
        report.note(f"old banks and models were not removed: {reason(error)}")
    return f"{slot.kind} {slot.reference} {how}"


def _switch(store: Store, state: State, report: Report, live: Callable[[], str]) -> str:
    """Make a state active; roll back if the pedal cannot play it.

    Called with the lock of the store held. Raises UserError, OSError.
    """
    from firmware_py.install import trial

    report.progress("switching", 0, 0)
    before, asked_pedal = store.number(), False
    try:
        if state != store.current():
            store.switch(state)
        playing = store.current().playing
        if playing is not None:
            path = playing.path
            trial.run(lambda: trial.check(path, rooms=(trial.MIDDLE,), check_hash=False))
        asked_pedal = True
        return live()
    except BaseException as error:
        if store.number() != before:
            with contextlib.suppress(OSError):  # report the first error of the disk
                store.take_back(before)
        if asked_pedal:
            with contextlib.suppress(UserError, ValueError):
                live()  # it may have switched and then answered too late
        if isinstance(error, ValueError | UserError):
            if store.number() != before:
                raise UserError(
                    f"the pedal cannot play it: {error}; {_still_active(store.current())}"
                ) from None
            raise UserError(f"rolled back, because the pedal cannot play it: {error}") from None
        raise


def _still_active(state: State) -> str:
    """The message when the disk fails after the switch and again during the rollback."""
    slot = state.playing
    return (
        f"{slot.reference if slot else f'bank {BUILT_IN_NAME}'} is active nevertheless, because "
        "the disk failed during the rollback: it plays from the next start at the latest; "
        "`nverb rollback` or `nverb use` undoes it once the disk works"
    )


def _install_presets(content: bytes, offer: Offer, data: Path, store: Store, report: Report) -> str:
    presets = parse_presets(content, offer.name, report.note)
    kept = Presets(data, warn=report.note)
    before = {name_key(name) for name in kept.names()}
    presets = kept.merge(presets)
    for preset in presets:
        if preset.bank and os.sep not in preset.bank:
            try:
                store.nearest(preset.bank)
            except StoreError as error:
                report.note(
                    f"preset {preset.name!r}: {error}; it keeps the current rooms until then"
                )
    new = [preset.name for preset in presets if name_key(preset.name) not in before]
    replaced = [preset.name for preset in presets if name_key(preset.name) in before]
    told = [f"preset{'s' if len(new) > 1 else ''} {', '.join(new)} kept"] if new else []
    if replaced:
        told.append(f"{', '.join(replaced)} replaced (`nverb preset undo` takes that back)")
    return "; ".join(told)


def _install_profile(content: bytes, offer: Offer, data: Path) -> str:
    from device import profile
    from firmware_py.base.paths import write_atomically
    from models.reading import MalformedFile, toml_table

    name = slot_name(offer.name)
    path = data / "profiles" / f"{name}.toml"
    try:
        profile.parse(toml_table(content, offer.name), path)
    except profile.ProfileError as error:
        raise UserError(str(error).replace(str(path), offer.name)) from None
    except MalformedFile as error:
        raise UserError(f"{error}: not a bank, model, preset or profile") from None
    make_folder(path.parent)
    write_atomically(path, lambda file: file.write(content))
    return f"profile {name} kept; a pedal that uses this profile reads it now"


def use(name: str, kind: str | None, *, data: Path, report: Report, live: Callable[[], str]) -> str:
    """Make a slot active, by NAME, NAME@HASH or HASH, or "built-in" for the built-in rooms.

    Returns the result, one line. Raises UserError, StoreError.
    """
    store = Store(data)
    with _explained(data):
        if name != BUILT_IN_NAME:
            # Before the lock, so that an unknown name changes nothing on disk.
            store.find(name, kind).verify()
        with store.changing():
            now = store.current()
            if name == BUILT_IN_NAME:
                return f"bank {BUILT_IN_NAME} {_switch(store, State(now.slots, ''), report, live)}"
            slot = store.find(name, kind)
            state = State({**now.slots, slot.kind: slot}, slot.kind)
            return f"{slot.kind} {slot.reference} {_switch(store, state, report, live)}"


def roll_back(kind: str, *, data: Path, report: Report, live: Callable[[], str]) -> str:
    """Make the previous bank or model active again. Raises UserError, StoreError."""
    store = Store(data)
    with _explained(data):
        store.before(kind)
        with store.changing():
            state = store.before(kind)
            if state.playing is not None:
                state.playing.verify()
            how = _switch(store, state, report, live)
            slot = state.playing
            return f"{f'{slot.kind} {slot.reference}' if slot else f'bank {BUILT_IN_NAME}'} {how}"


def remove(name: str, kind: str | None, *, data: Path) -> str:
    """Remove a slot that does not play. Raises UserError, StoreError."""
    store = Store(data)
    with _explained(data):
        slot = store.find(name, kind)
        with store.changing():
            store.remove(slot)
        users = []
        with contextlib.suppress(PresetError):
            users = [p.name for p in Presets(data).all() if p.bank == slot.reference]
        told = f"{slot.kind} {slot.reference} removed"
        if users:
            what = f"preset{'s' if len(users) > 1 else ''} {', '.join(users)}"
            told += f"; {what} cannot play until it is installed again"
        return told


class ListedSlot(TypedDict):
    """A row of `nverb list --json`."""

    kind: str
    name: str
    sha256: str
    reference: str
    bytes: int
    in_use: bool
    plays: bool


def listing(data: Path) -> list[ListedSlot]:
    """The installed banks and models, last used first."""
    store = Store(data)
    state = store.current()
    rows: list[ListedSlot] = []
    for slot in store.slots():
        with contextlib.suppress(FileNotFoundError):
            rows.append(
                {
                    "kind": slot.kind,
                    "name": slot.name,
                    "sha256": slot.sha256,
                    "reference": slot.reference,
                    "bytes": slot.path.stat().st_size,
                    "in_use": state.slots.get(slot.kind) == slot,
                    "plays": state.playing == slot,
                }
            )
    return rows


_FREE_SPACE = "`nverb list` shows what can go, `nverb remove NAME` removes it"
_NOT_WRITABLE = (
    "is not writable by this user: "
    "run the command as the pedal's user or with sudo, or start the pedal"
)
_REMEDIES = {
    errno.ENOSPC: f"the disk is full: {_FREE_SPACE}",
    errno.EDQUOT: f"the disk quota is used up: {_FREE_SPACE}",
    errno.EROFS: "the disk is read-only: mount it read-write",
    errno.EACCES: _NOT_WRITABLE,
    errno.EPERM: _NOT_WRITABLE,
    errno.EIO: "the disk fails: replace it",
}


@contextlib.contextmanager
def _explained(data: Path) -> Iterator[None]:
    """Turn an OSError into a UserError with its remedy and the state that is active now.

    The state is read from the disk again.
    """
    store = Store(data)
    before = store.current()
    try:
        yield
    except OSError as error:
        known = _REMEDIES.get(error.errno or 0)
        what = (
            f"{data}: {known}" if known else f"{error.filename or data}: {error.strerror or error}"
        )
        now = store.current()
        raise UserError(
            f"{what}; {'nothing has changed' if now == before else _still_active(now)}"
        ) from None
