"""Taking in banks, models, presets and profiles, and choosing among those that are here. Whatever happens, the pedal plays on.

What an installation goes through; after a kill, a power cut or an error at any point, either the old or the new is in force, whole:

| stage   | what happens                                                   | if it fails                                  |
|---------|----------------------------------------------------------------|----------------------------------------------|
| receive | into `incoming`, hashed; refused as soon as it cannot be right | what has come is kept if it can be gone on with |
| verify  | synced, read back from the disk, hash and signature compared   | removed                                      |
| trial   | in a child process: it opens, and rooms come out               | removed                                      |
| switch  | into `slots`, a generation that names it, then `current`       | `current` still names the old                |
| check   | opened once more by the pedal's own door, a room made          | `current` back to the old; the new removed   |
| live    | the control process plays it                                   | `current` back to the old; the new removed   |

Runs in a process of its own, under the user that the data folder belongs to (see firmware_py.install.protocol for how others reach it). See
firmware_py.state.store for the folders.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dsp.errors import UserError
from firmware_py.base.progress import Report
from firmware_py.install.receive import MAX_BYTES, STDIN, Chunks, Offer, _part, _receive, _wanted
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
    """Installs what `receive(at)` yields (the content from byte `at` on); one line on what has become of it.

    live: has the running pedal play what the store has in force; how that went, in words, or its refusal as UserError. Raises
    UserError or ValueError: what was in force is so then, or the message says that it is not, as the disk failed for good just then.
    """
    from firmware_py.install import signatures

    if signatures.is_required(data) and not offer.signature:
        raise UserError(
            f"{offer.name}: this board takes signed files only, and it is not signed: "
            "sign it with `ssh-keygen -Y sign -n nverb -f KEY FILE`, or push it with --sign KEY"
        )
    store = Store(data)
    with _explained(data):
        store.make()
        known = store.with_hash(offer.sha256) if offer.sha256 else None
        if known is not None and known.kind == (offer.kind or known.kind) and _is_whole(known):
            if signatures.is_required(data):
                with open(known.path, "rb") as file:
                    signatures.verify(data, file.fileno(), offer.signature)
            for _ in receive(known.path.stat().st_size):
                raise UserError(f"{offer.name}: more came than was announced")
            with store.changing():
                return _put_in_force(store, known, report, live, is_new=False)
        with _part(store, offer) as (path, file):
            kind, digest = _receive(offer, file, receive, store, report)
            report.progress("verifying", 0, 0)
            os.fsync(file)
            os.posix_fadvise(
                file, 0, 0, os.POSIX_FADV_DONTNEED
            )  # so that what is read back comes from the disk
            if hash_of(file) != digest:
                raise UserError(
                    f"{offer.name}: the disk gives back other bytes than were written: it may be failing"
                )
            if signatures.is_required(data):
                report.note(f"signed by {signatures.verify(data, file, offer.signature)}")
            if kind in KINDS:
                _try(path, offer.name, report)
                name = offer.name if offer.name != STDIN else _own_name(path, kind)
                os.fchmod(file, 0o440)
                os.fsync(file)
                with store.changing():
                    before = set(store.slots())
                    slot = store.add(path, kind, name, digest)
                    return _put_in_force(store, slot, report, live, is_new=slot not in before)
            content = os.pread(file, MAX_BYTES[kind] + 1, 0)
        if kind == "preset":
            return _install_presets(content, offer, data, store, report)
        return _install_profile(content, offer, data)


def _is_whole(slot: Slot) -> bool:
    try:
        slot.verify()
    except (StoreError, OSError):
        return False
    return True


def _try(path: Path, name: str, report: Report) -> None:
    from firmware_py.install import trial

    report.progress("trying", 0, 0)
    try:
        trial.run(lambda: trial.check(path))
    except ValueError as error:
        raise UserError(
            f"{name}: {str(error).replace(f'{path}: ', '').replace(str(path), 'it')}"
        ) from None


def _own_name(path: Path, kind: str) -> str:
    """The name that a bank or model, which has passed its trial, gives itself."""
    if kind == "bank":
        from bank.format import Bank

        return Bank.open(path).name
    from models import container

    return container.read(path).description.name


def _put_in_force(
    store: Store, slot: Slot, report: Report, live: Callable[[], str], *, is_new: bool
) -> str:
    """With the store's lock held."""
    now = store.current()
    try:
        how = _switch(store, State({**now.slots, slot.kind: slot}, slot.kind), report, live)
    except BaseException:
        if is_new:
            with contextlib.suppress(StoreError, OSError):
                store.remove(slot)
        raise
    try:
        store.prune(_wanted(store.root.parent))
    except OSError as error:
        report.note(f"old banks and models could not be removed: {error.strerror}")
    return f"{slot.kind} {slot.reference} {how}"


def _switch(store: Store, state: State, report: Report, live: Callable[[], str]) -> str:
    """Puts a state in force, and takes it back if the pedal cannot play it. With the store's lock held."""
    from firmware_py.install import trial

    report.progress("switching", 0, 0)
    before, was_asked = store.number(), False
    try:
        if state != store.current():
            store.switch(state)
        playing = store.current().playing
        if playing is not None:
            path = playing.path
            trial.run(lambda: trial.check(path, rooms=(trial.MIDDLE,), whole=False))
        was_asked = True
        return live()
    except BaseException as error:
        if store.number() != before:
            with contextlib.suppress(OSError):  # what the disk said first is what is told
                store.take_back(before)
        if was_asked:
            with contextlib.suppress(UserError, ValueError):
                live()  # it may have taken the new one and then answered too late
        if isinstance(error, ValueError | UserError):
            if store.number() != before:
                raise UserError(
                    f"the pedal cannot play it: {error}; {_in_force(store.current())}"
                ) from None
            raise UserError(f"rolled back, as the pedal cannot play it: {error}") from None
        raise


def _in_force(state: State) -> str:
    """For the day on which the disk fails after the switch, and again when it is to be undone."""
    slot = state.playing
    return (
        f"{slot.reference if slot else f'{BUILT_IN_NAME} rooms'} is in force all the same, as the disk did not let it be taken back: "
        "it plays from the next start on at the latest, `nverb rollback` or `nverb use` undoes it once the disk is well"
    )


def _install_presets(content: bytes, offer: Offer, data: Path, store: Store, report: Report) -> str:
    from firmware_py.state.presets import Presets, parse_presets

    presets = parse_presets(content, offer.name, report.note)
    shelf = Presets(data)
    shelf.merge(presets)
    for preset in presets:
        if preset.bank and os.sep not in preset.bank:
            try:
                store.nearest(preset.bank)
            except StoreError as error:
                report.note(
                    f"preset {preset.name!r}: {error}; until then it leaves the rooms as they are"
                )
    names = ", ".join(preset.name for preset in presets)
    return f"preset{'s' if len(presets) > 1 else ''} {names} kept"


def _install_profile(content: bytes, offer: Offer, data: Path) -> str:
    import tomllib

    from device import profile
    from firmware_py.base.paths import write_atomically

    name = slot_name(offer.name)
    path = data / "profiles" / f"{name}.toml"
    try:
        profile.parse(tomllib.loads(content.decode()), path)
    except profile.ProfileError as error:
        raise UserError(str(error).replace(str(path), offer.name)) from None
    except ValueError as error:
        raise UserError(
            f"{offer.name}: is no bank, model or preset, and not a profile either: {error}"
        ) from None
    make_folder(path.parent)
    write_atomically(path, lambda file: file.write(content))
    return f"profile {name} kept; a pedal that runs with it reads it now"


def use(name: str, kind: str | None, *, data: Path, report: Report, live: Callable[[], str]) -> str:
    """Plays a slot by name, NAME@HASH or HASH; "built-in" for the rooms that come with nverb."""
    store = Store(data)
    with _explained(data):
        if name != BUILT_IN_NAME:
            store.find(
                name, kind
            ).verify()  # before the lock: nothing is written for a name that is none
        with store.changing():
            now = store.current()
            if name == BUILT_IN_NAME:
                return f"{BUILT_IN_NAME} rooms {_switch(store, State(now.slots, ''), report, live)}"
            slot = store.find(name, kind)
            state = State({**now.slots, slot.kind: slot}, slot.kind)
            return f"{slot.kind} {slot.reference} {_switch(store, state, report, live)}"


def roll_back(kind: str, *, data: Path, report: Report, live: Callable[[], str]) -> str:
    store = Store(data)
    with _explained(data):
        store.before(kind)
        with store.changing():
            state = store.before(kind)
            if state.playing is not None:
                state.playing.verify()
            how = _switch(store, state, report, live)
            slot = state.playing
            return f"{f'{slot.kind} {slot.reference}' if slot else f'{BUILT_IN_NAME} rooms'} {how}"


def remove(name: str, kind: str | None, *, data: Path) -> str:
    store = Store(data)
    with _explained(data):
        slot = store.find(name, kind)
        with store.changing():
            store.remove(slot)
        return f"{slot.kind} {slot.reference} removed"


def listing(data: Path) -> list[dict[str, Any]]:
    """What is installed, last used first: kind, name, hash, bytes, is it the one in use of its kind, does it play."""
    store = Store(data)
    state = store.current()
    rows = []
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


def become_owner(data: Path) -> None:
    """As root: become the user that the data folder belongs to, for good. What is installed is read as that user, and belongs to it."""
    if os.geteuid() != 0:
        return
    info = data.stat()
    if info.st_uid != 0:
        os.setgroups([])
        os.setresgid(info.st_gid, info.st_gid, info.st_gid)
        os.setresuid(info.st_uid, info.st_uid, info.st_uid)


_REMEDIES = {
    errno.ENOSPC: "the disk is full: `nverb list` shows what could go, `nverb remove NAME` removes it",
    errno.EDQUOT: "the disk quota is used up: `nverb list` shows what could go, `nverb remove NAME` removes it",
    errno.EROFS: "the disk is read-only: is the data folder mounted, and writable?",
    errno.EACCES: "may not be written to by this user: run it as the pedal's user or with sudo, or start the pedal",
    errno.EPERM: "may not be written to by this user: run it as the pedal's user or with sudo, or start the pedal",
    errno.EIO: "the disk fails: replace it",
}


@contextlib.contextmanager
def _explained(data: Path) -> Iterator[None]:
    """What the disk says, with its remedy, and what is in force now: looked up, not supposed."""
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
            f"{what}; {'what is in force stays' if now == before else _in_force(now)}"
        ) from None
