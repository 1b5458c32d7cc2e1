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

import codecs
import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_py.state.store import KINDS, Slot, State, Store, StoreError, hash_of, make_folder, slot_name
from dsp.errors import UserError

CHUNK = 1 << 17
MAX_BYTES = {"bank": 1 << 29, "model": 80 << 20, "preset": 1 << 20, "profile": 1 << 16}
RESERVE = 8 << 20
"""Bytes of the disk that an installation leaves free: presets must still be kept."""
HEAD = 64
"""Bytes after which it is known what a file is."""

STDIN = "stdin"
"""The name of an offer that has none."""

BUILT_IN_NAME = "built-in"

Chunks = Iterator[bytes]


@dataclass(frozen=True)
class Offer:
    """What is to be installed. `size` None: until the input ends; `sha256` "": unknown; `kind` "": by content."""

    name: str
    kind: str = ""
    size: int | None = None
    sha256: str = ""
    signature: str = ""


class Report:
    """Hears how it goes. This one keeps silent."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` bytes; 0 of 0 when a stage begins that counts none."""

    def note(self, text: str) -> None:
        """Something that the user should know, though it goes on."""


class CutOff(UserError):
    """The input ended too early. What has come is kept."""


def kind_of(head: bytes, name: str) -> str:
    """What a file is, by its first HEAD bytes (or all of a shorter one). Raises UserError."""
    if head.startswith(b"nverbank"):
        return "bank"
    if head.startswith(b"NVMODEL\0"):
        return "model"
    if not head:
        raise UserError(f"{name}: is empty")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    is_text = bool(text) and not any(byte < 9 or 13 < byte < 32 for byte in head)
    with contextlib.suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
        if is_text:
            return "preset" if text.startswith(b"{") else "profile"
    raise UserError(f"{name}: is no bank, model, preset or profile of nverb")


def install(
    offer: Offer, receive: Callable[[int], Chunks], *, data: Path, report: Report, live: Callable[[], str]
) -> str:
    """Installs what `receive(at)` yields (the content from byte `at` on); one line on what has become of it.

    live: has the running pedal play what the store has in force; how that went, in words, or its refusal as UserError. Raises
    UserError or ValueError: what was in force is so then, or the message says that it is not, as the disk failed for good just then.
    """
    from firmware_py.install import signatures as trust

    if trust.is_required(data) and not offer.signature:
        raise UserError(
            f"{offer.name}: this board takes signed files only, and it is not signed: "
            "sign it with `ssh-keygen -Y sign -n nverb -f KEY FILE`, or push it with --sign KEY"
        )
    store = Store(data)
    with _explained(data):
        store.make()
        known = store.with_hash(offer.sha256) if offer.sha256 else None
        if known is not None and known.kind == (offer.kind or known.kind) and _is_whole(known):
            if trust.is_required(data):
                with open(known.path, "rb") as file:
                    trust.verify(data, file.fileno(), offer.signature)
            for _ in receive(known.path.stat().st_size):
                raise UserError(f"{offer.name}: more came than was announced")
            with store.changing():
                return _put_in_force(store, known, report, live, is_new=False)
        with _part(store, offer) as (path, file):
            kind, digest = _receive(offer, file, receive, store, report)
            report.progress("verifying", 0, 0)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # so that what is read back comes from the disk
            if hash_of(file) != digest:
                raise UserError(f"{offer.name}: the disk gives back other bytes than were written: it may be failing")
            if trust.is_required(data):
                report.note(f"signed by {trust.verify(data, file, offer.signature)}")
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


@contextlib.contextmanager
def _part(store: Store, offer: Offer) -> Iterator[tuple[Path, int]]:
    """The file that this offer is received into, ours alone. Others, left by installers that are gone, are removed.

    Gone afterwards, unless the input was cut off and can be gone on with.
    """
    path = store.incoming / (f"{offer.sha256}.part" if offer.sha256 else f"stdin.{os.getpid()}.part")
    for other in os.listdir(store.incoming):
        if other != path.name:
            _remove_left(store.incoming / other)
    file = _open_part(path)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{offer.name}: is being installed already: wait until that is done") from None
        if os.fstat(file).st_nlink == 0:  # somebody cleaned up in between
            raise UserError(f"{offer.name}: another installation came in between: install it again")
        is_kept = False
        try:
            yield path, file
        except CutOff:
            is_kept = bool(offer.sha256)
            raise
        finally:
            if not is_kept:
                with contextlib.suppress(OSError):  # the next installation removes it
                    path.unlink()
    finally:
        os.close(file)


def _open_part(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o640)
    except PermissionError:  # of one that was killed when all was received and made read-only
        path.unlink()
        return os.open(path, flags, 0o640)


def _remove_left(path: Path) -> None:
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(file)


def _receive(
    offer: Offer, file: int, receive: Callable[[int], Chunks], store: Store, report: Report
) -> tuple[str, str]:
    """Writes what comes to `file`, behind what is there already; its kind and SHA-256."""
    size = os.fstat(file).st_size
    if offer.size is None or size > offer.size:
        os.ftruncate(file, 0)
        size = 0
    digest, at, head = hashlib.sha256(), 0, b""
    while at < size:
        piece = os.pread(file, min(CHUNK, size - at), at)
        digest.update(piece)
        head += piece[: HEAD - len(head)]
        at += len(piece)
    expected = offer.size
    kind = ""
    if len(head) >= HEAD:
        kind, expected = _look(offer, head, at, store)
    for piece in receive(at):
        if expected is not None and at + len(piece) > expected:
            raise UserError(f"{offer.name}: more comes than the {expected} bytes that it should have")
        if not kind:
            head += piece[: HEAD - len(head)]
            if len(head) >= HEAD:
                kind, expected = _look(offer, head, at, store)
        if kind and at + len(piece) > MAX_BYTES[kind]:
            raise UserError(f"{offer.name}: larger than the {MAX_BYTES[kind]} bytes that a {kind} may have")
        digest.update(piece)
        _write(file, piece, at)
        at += len(piece)
        report.progress("receiving", at, expected or at)
    if not kind:
        kind, expected = _look(offer, head, at, store)
    if expected is not None and at < expected:
        raise CutOff(
            f"{offer.name}: cut off after {at} of {expected} bytes: "
            + ("install it again; it goes on from there" if offer.sha256 else "copy it again")
        )
    if offer.sha256 and digest.hexdigest() != offer.sha256:
        raise UserError(f"{offer.name}: arrived with other contents than were sent (another SHA-256): send it again")
    return kind, digest.hexdigest()


def _look(offer: Offer, head: bytes, received: int, store: Store) -> tuple[str, int | None]:
    """Kind and size, from the first bytes. Raises UserError for what cannot be installed, before more of it comes."""
    kind = kind_of(head, offer.name)
    if kind in KINDS:
        from firmware_py.install import trial

        trial.prepare()
    if offer.kind not in ("", kind):
        raise UserError(f"{offer.name}: is a {kind}, not a {offer.kind}")
    size = offer.size
    if kind == "bank":
        import numpy as np

        from bank.format import HEADER

        said = int(np.frombuffer(head.ljust(HEAD, b"\0"), HEADER, 1)[0]["size"])
        if size is not None and size != said:
            raise UserError(f"{offer.name}: has {size} bytes and should have {said}: it was cut short, copy it again")
        size = said
    if size is not None:
        if size > MAX_BYTES[kind]:
            raise UserError(f"{offer.name}: {size} bytes are more than the {MAX_BYTES[kind]} that a {kind} may have")
        _require_space(offer, store, size - received)
    return kind, size


def _require_space(offer: Offer, store: Store, size: int) -> None:
    """Room for `size` bytes more: if need be by forgetting all slots but those in use, those before them and those of presets."""

    def free() -> int:
        disk = os.statvfs(store.root)
        return disk.f_bavail * disk.f_frsize - RESERVE

    if free() < size:
        with store.changing():
            store.prune(_wanted(store.root.parent), kept=2)
    if free() < size:
        raise UserError(
            f"{offer.name}: needs {size / 1e6:.1f} MB, and {max(free(), 0) / 1e6:.1f} MB can be had on the disk of {store.root}: "
            "`nverb list` shows what could go, `nverb remove NAME` removes it"
        )


def _write(file: int, piece: bytes, at: int) -> None:
    view = memoryview(piece)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def _try(path: Path, name: str, report: Report) -> None:
    from firmware_py.install import trial

    report.progress("trying", 0, 0)
    try:
        trial.run(lambda: trial.check(path))
    except ValueError as error:
        raise UserError(f"{name}: {str(error).replace(f'{path}: ', '').replace(str(path), 'it')}") from None


def _own_name(path: Path, kind: str) -> str:
    """The name that a bank or model, which has passed its trial, gives itself."""
    if kind == "bank":
        from bank.format import Bank

        return Bank.open(path).name
    from models import container

    return container.read(path).description.name


def _put_in_force(store: Store, slot: Slot, report: Report, live: Callable[[], str], *, is_new: bool) -> str:
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
                raise UserError(f"the pedal cannot play it: {error}; {_in_force(store.current())}") from None
            raise UserError(f"rolled back, as the pedal cannot play it: {error}") from None
        raise


def _in_force(state: State) -> str:
    """For the day on which the disk fails after the switch, and again when it is to be undone."""
    slot = state.playing
    return (
        f"{slot.reference if slot else f'{BUILT_IN_NAME} rooms'} is in force all the same, as the disk did not let it be taken back: "
        "it plays from the next start on at the latest, `nverb rollback` or `nverb use` undoes it once the disk is well"
    )


def _wanted(data: Path) -> list[str]:
    from firmware_py.state.presets import PresetError, Presets

    try:
        return Presets(data).banks()
    except PresetError:
        return []


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
                report.note(f"preset {preset.name!r}: {error}; until then it leaves the rooms as they are")
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
        raise UserError(f"{offer.name}: is no bank, model or preset, and not a profile either: {error}") from None
    make_folder(path.parent)
    write_atomically(path, lambda file: file.write(content))
    return f"profile {name} kept; a pedal that runs with it reads it now"


def use(name: str, kind: str | None, *, data: Path, report: Report, live: Callable[[], str]) -> str:
    """Plays a slot by name, NAME@HASH or HASH; "built-in" for the rooms that come with nverb."""
    store = Store(data)
    with _explained(data):
        if name != BUILT_IN_NAME:
            store.find(name, kind).verify()  # before the lock: nothing is written for a name that is none
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


def open_input(path: Path) -> int:
    """A file to be installed, opened once and for all: what is at its path later does not matter. Raises OSError, UserError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UserError(f"{path}: is not a file; to install from a pipe, write it to `nverb install -`")
    return file


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
        what = f"{data}: {known}" if known else f"{error.filename or data}: {error.strerror or error}"
        now = store.current()
        raise UserError(f"{what}; {'what is in force stays' if now == before else _in_force(now)}") from None
