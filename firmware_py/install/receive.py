"""Receive a file into a part file, which a later attempt resumes."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dsp.errors import UserError
from firmware_py.base.progress import Report
from firmware_py.link.lines import NothingReceived
from firmware_py.state.preset_file import PresetError
from firmware_py.state.presets import Presets
from firmware_py.state.store import MAX_SLOT_BYTES, Store
from models.reading import open_regular

CHUNK = 1 << 17
MAX_BYTES = {**MAX_SLOT_BYTES, "preset": 1 << 20, "profile": 1 << 16}
LOCKING_S = 0.1
"""So long an installer that starts may hold what another one opens."""
RESERVE = 8 << 20
"""Bytes of the disk that an installation leaves free, so that presets can still be saved."""
HEAD = 64
"""Bytes that identify the kind of a file."""
STDIN = "stdin"
"""The name of an offer from a pipe."""
Chunks = Iterator[bytes]


@dataclass(frozen=True)
class Offer:
    """A file to install. size None: not known; sha256 "": not known; kind "": detect it."""

    name: str
    kind: str = ""
    size: int | None = None
    sha256: str = ""
    signature: str = ""


class CutOff(UserError):
    """The input ended too early. The received part is kept."""


def kind_of(head: bytes, name: str) -> str:
    """The kind of a file, from its first HEAD bytes or fewer. Raises UserError."""
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
    raise UserError(f"{name}: is not a bank, model, preset or profile of nverb")


def require_size(kind: str, size: int, name: str) -> None:
    """Raise UserError if a file of this kind cannot have this size."""
    if size > MAX_BYTES[kind]:
        raise UserError(
            f"{name}: {size} bytes are more than the {MAX_BYTES[kind]} that a {kind} may have"
        )


@contextlib.contextmanager
def part_file(store: Store, offer: Offer) -> Iterator[tuple[Path, int]]:
    """Path and descriptor of the part file of this offer, locked.

    Removes part files left over from killed installers. Removes this one at the end, unless the
    input was cut off and can be resumed. Raises UserError if another process holds the file.
    """
    path = store.incoming / (
        f"{offer.sha256}.part" if offer.sha256 else f"stdin.{os.getpid()}.part"
    )
    for other in os.listdir(store.incoming):
        if other != path.name:
            _remove_left(store.incoming / other)
    file = _locked_part(path, offer)
    try:
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


def _locked_part(path: Path, offer: Offer) -> int:
    """Open the part file and lock it.

    Another installer that starts now may lock and remove it, as if it were left over: tried again.
    """
    until_s = time.monotonic() + LOCKING_S
    while True:
        file = _open_part(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            if time.monotonic() > until_s:
                raise UserError(
                    f"{offer.name}: is being installed already: wait until that has finished"
                ) from None
            time.sleep(LOCKING_S / 20)
            continue
        if os.fstat(file).st_nlink:
            return file
        os.close(file)


def _open_part(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o640)
    except PermissionError:  # read-only: left over from a killed installer
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


def receive_file(
    offer: Offer, file: int, receive: Callable[[int], Chunks], store: Store, report: Report
) -> tuple[str, str]:
    """Append the input to `file`, after the bytes it already has; return kind and SHA-256.

    Raises UserError as soon as the input cannot be valid, CutOff if it ends early.
    """
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
        kind, expected = _identify(offer, head, at, store)
    for piece in _until_silence(offer, receive(at)):
        if expected is not None and at + len(piece) > expected:
            raise UserError(
                f"{offer.name}: more bytes arrive than the {expected} that it should have"
            )
        if not kind:
            head += piece[: HEAD - len(head)]
            if len(head) >= HEAD:
                kind, expected = _identify(offer, head, at, store)
        if kind and at + len(piece) > MAX_BYTES[kind]:
            raise UserError(
                f"{offer.name}: larger than the {MAX_BYTES[kind]} bytes that a {kind} may have"
            )
        digest.update(piece)
        _write(file, piece, at)
        at += len(piece)
        report.progress("receiving", at, expected or at)
    if not kind:
        kind, expected = _identify(offer, head, at, store)
    if expected is not None and at < expected:
        raise CutOff(
            f"{offer.name}: cut off after {at} of {expected} bytes: "
            + ("install it again; it resumes there" if offer.sha256 else "copy it again")
        )
    if offer.sha256 and digest.hexdigest() != offer.sha256:
        raise UserError(
            f"{offer.name}: the content differs from what was sent (another SHA-256): send it again"
        )
    return kind, digest.hexdigest()


def _until_silence(offer: Offer, pieces: Chunks) -> Chunks:
    """The pieces. A connection that stalls or drips is cut off: the upload resumes."""
    try:
        yield from pieces
    except NothingReceived as error:
        raise CutOff(f"{offer.name}: {error}; install it again; it resumes there") from None


def _identify(offer: Offer, head: bytes, received: int, store: Store) -> tuple[str, int | None]:
    """Kind and size, from the first bytes. Raises UserError if the file cannot be installed."""
    kind = kind_of(head, offer.name)
    if offer.kind not in ("", kind):
        raise UserError(f"{offer.name}: is a {kind}, not a {offer.kind}")
    size = offer.size
    if kind == "bank":
        import numpy as np

        from bank.format import HEADER

        said = int(np.frombuffer(head.ljust(HEAD, b"\0"), HEADER, 1)[0]["size"])
        if size is not None and size != said:
            raise UserError(
                f"{offer.name}: has {size} bytes and should have {said}: "
                "it was cut short; copy it again"
            )
        size = said
    if size is not None:
        require_size(kind, size, offer.name)
        _require_space(offer, store, size - received)
    return kind, size


def _require_space(offer: Offer, store: Store, size: int) -> None:
    """Ensure that `size` more bytes fit on the disk.

    If they do not, keep only slots that are active, that were active before, or that presets use.
    Raises UserError if they still do not fit.
    """

    def free() -> int:
        disk = os.statvfs(store.root)
        return disk.f_bavail * disk.f_frsize - RESERVE

    if free() < size:
        with store.changing(), contextlib.suppress(PresetError):  # without them nothing may go
            store.prune(banks_of_presets(store.root.parent), kept=2)
    if free() < size:
        raise UserError(
            f"{offer.name}: needs {size / 1e6:.1f} MB, and {max(free(), 0) / 1e6:.1f} MB are free "
            f"on the disk of {store.root}: "
            "`nverb list` shows what can go, `nverb remove NAME` removes it"
        )


def _write(file: int, piece: bytes, at: int) -> None:
    view = memoryview(piece)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def banks_of_presets(data: Path) -> list[str]:
    """The banks and models that presets refer to. Raises PresetError."""
    return Presets(data).banks()


def open_input(path: Path) -> int:
    """Open a file to install. A later rename has no effect. Raises OSError, UserError.

    Kind and size are checked before anybody reads it: a sparse file may be longer than all disks.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise UserError(
            f"{path}: is not a regular file; to install from a pipe, use `nverb install -`"
        )
    file = open_regular(path)
    try:
        require_size(kind_of(os.pread(file, HEAD, 0), path.name), os.fstat(file).st_size, path.name)
    except UserError:
        os.close(file)
        raise
    return file
