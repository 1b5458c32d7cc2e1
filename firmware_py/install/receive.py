"""Receive a file that is installed: into a part file that a later try resumes."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dsp.errors import UserError
from firmware_py.base.progress import Report
from firmware_py.state.store import KINDS, Store

CHUNK = 1 << 17


MAX_BYTES = {"bank": 1 << 29, "model": 80 << 20, "preset": 1 << 20, "profile": 1 << 16}


RESERVE = 8 << 20
"""Bytes of the disk that an installation leaves free: presets must still be kept."""


HEAD = 64
"""Bytes after which it is known what a file is."""


STDIN = "stdin"
"""The name of an offer that has none."""


Chunks = Iterator[bytes]


@dataclass(frozen=True)
class Offer:
    """What is to be installed. `size` None: until the input ends; `sha256` "": unknown; `kind` "": by content."""

    name: str
    kind: str = ""
    size: int | None = None
    sha256: str = ""
    signature: str = ""


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


@contextlib.contextmanager
def _part(store: Store, offer: Offer) -> Iterator[tuple[Path, int]]:
    """The file that this offer is received into, ours alone. Others, left by installers that are gone, are removed.

    Gone afterwards, unless the input was cut off and can be gone on with.
    """
    path = store.incoming / (
        f"{offer.sha256}.part" if offer.sha256 else f"stdin.{os.getpid()}.part"
    )
    for other in os.listdir(store.incoming):
        if other != path.name:
            _remove_left(store.incoming / other)
    file = _open_part(path)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{offer.name}: is being installed already: wait until that is done"
            ) from None
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
            raise UserError(
                f"{offer.name}: more comes than the {expected} bytes that it should have"
            )
        if not kind:
            head += piece[: HEAD - len(head)]
            if len(head) >= HEAD:
                kind, expected = _look(offer, head, at, store)
        if kind and at + len(piece) > MAX_BYTES[kind]:
            raise UserError(
                f"{offer.name}: larger than the {MAX_BYTES[kind]} bytes that a {kind} may have"
            )
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
        raise UserError(
            f"{offer.name}: arrived with other contents than were sent (another SHA-256): send it again"
        )
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
            raise UserError(
                f"{offer.name}: has {size} bytes and should have {said}: it was cut short, copy it again"
            )
        size = said
    if size is not None:
        if size > MAX_BYTES[kind]:
            raise UserError(
                f"{offer.name}: {size} bytes are more than the {MAX_BYTES[kind]} that a {kind} may have"
            )
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


def _wanted(data: Path) -> list[str]:
    from firmware_py.state.presets import PresetError, Presets

    try:
        return Presets(data).banks()
    except PresetError:
        return []


def open_input(path: Path) -> int:
    """A file to be installed, opened once and for all: what is at its path later does not matter. Raises OSError, UserError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UserError(
            f"{path}: is not a file; to install from a pipe, write it to `nverb install -`"
        )
    return file
