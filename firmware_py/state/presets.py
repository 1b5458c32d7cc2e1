"""Presets: all controls and the bank under a name. One file in the data folder.

    presets.json                     UTF-8, at most MAX_BYTES
      "version": 1
      "startup": "Hall" or null      the preset after power-on
      "presets": [                   in the order of the footswitch and of MIDI program numbers,
                                     at most MAX_PRESETS
        {"name": "Hall", "bank": "", NAME@HASH or a path, "values": {"x": 3.5, "mix": 40.0, ...}}
      ]
      "sha256": of the rest, as canonical JSON

A change, such as renaming the startup preset, replaces the complete file: a temporary file is
written, synced and renamed, so that a power cut leaves the old or the new one. The version before
is presets.previous.json; it is read, with a warning, if the file is damaged. Writers lock each
other out; a reader never waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.controls import CONTROLS, NOT_KEPT, check, find
from dsp.errors import UserError, did_you_mean
from firmware_py.base.paths import write_atomically

MAX_PRESETS = 128
"""The number of MIDI program numbers."""
MAX_NAME = 40
MAX_BYTES = 1 << 20
MAX_BANK = 4096


class PresetError(UserError):
    """Unknown preset, invalid name, full or damaged file; the message says which and what to do."""


@dataclass(frozen=True)
class Preset:
    """A preset.

    values: the controls in their units, all but `freeze` and `bypass`. bank: "" for the built-in
    rooms, NAME@HASH for an installed bank or model (see firmware_py.state.store), or a path.
    """

    name: str
    values: dict[str, float]
    bank: str = ""


KEPT = tuple(control.name for control in CONTROLS if control.name not in NOT_KEPT)
"""Controls that a preset contains."""


@dataclass
class _Content:
    """The content of the file: all presets in order, and the name of the startup preset."""

    presets: list[Preset]
    startup: str | None


class Presets:
    """The presets of a data folder. Every call reads the file: another process may change it.

    warning: a line for the log if the last call found a damaged file or invalid values, else "".
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "presets.json"
        self._previous = folder / "presets.previous.json"
        self._lock = folder / ".presets.lock"
        self.warning = ""

    def names(self) -> list[str]:
        """The names in order: the index is the MIDI program number."""
        return [preset.name for preset in self._read().presets]

    def load(self, name: str) -> Preset:
        """The preset of that name. Raises PresetError with similar names."""
        content = self._read()
        return content.presets[_place(content, name)]

    def at(self, number: int) -> Preset | None:
        """The preset at an index (a MIDI program number, from 0), or None."""
        presets = self._read().presets
        return presets[number] if 0 <= number < len(presets) else None

    def step(self, current: str | None, by: int) -> Preset | None:
        """The preset `by` places after the current one, cyclic; None if there are no presets.

        The first preset if `current` is unknown.
        """
        presets = self._read().presets
        if not presets:
            return None
        places = [place for place, preset in enumerate(presets) if preset.name == current]
        return presets[(places[0] + by) % len(presets)] if places else presets[0]

    @property
    def startup(self) -> Preset | None:
        """The preset after power-on; None: the defaults of the controls."""
        content = self._read()
        return next((preset for preset in content.presets if preset.name == content.startup), None)

    def save(self, name: str, values: Mapping[str, float], bank: str = "") -> Preset:
        """Save values under a name; replaces a preset of that name, else appends one.

        Raises PresetError, ValueError for a value out of range, OSError.
        """
        preset = Preset(
            _checked_name(name),
            {key: check(find(key), values[key]) for key in KEPT if key in values},
            bank,
        )
        with self._changing() as content:
            for place, other in enumerate(content.presets):
                if other.name == preset.name:
                    content.presets[place] = preset
                    break
            else:
                if len(content.presets) >= MAX_PRESETS:
                    raise PresetError(f"there are {MAX_PRESETS} presets already: delete one first")
                content.presets.append(preset)
        return preset

    def rename(self, name: str, new: str) -> None:
        """Rename a preset. Raises PresetError if it is unknown or the new name is taken."""
        new = _checked_name(new)
        with self._changing() as content:
            place = _place(content, name)
            old = content.presets[place]
            if any(preset.name == new for preset in content.presets) and new != old.name:
                raise PresetError(
                    f"preset {new!r} exists already: delete it first, or choose another name"
                )
            content.presets[place] = Preset(new, old.values, old.bank)
            if content.startup == old.name:
                content.startup = new

    def delete(self, name: str) -> None:
        """Delete a preset. Raises PresetError if it is unknown."""
        with self._changing() as content:
            gone = content.presets.pop(_place(content, name))
            if content.startup == gone.name:
                content.startup = None

    def move(self, name: str, number: int) -> None:
        """Move a preset to an index, from 0; later presets move by one."""
        with self._changing() as content:
            preset = content.presets.pop(_place(content, name))
            content.presets.insert(min(max(number, 0), len(content.presets)), preset)

    def set_startup(self, name: str | None) -> None:
        """Make a preset the one after power-on; None: the defaults."""
        with self._changing() as content:
            content.startup = None if name is None else content.presets[_place(content, name)].name

    def banks(self) -> list[str]:
        """The banks that presets refer to."""
        return sorted({preset.bank for preset in self._read().presets} - {""})

    def merge(self, presets: list[Preset]) -> None:
        """Save these presets as save() does: all of them or, on an error, none."""
        with self._changing() as content:
            places = {preset.name: place for place, preset in enumerate(content.presets)}
            for preset in presets:
                if preset.name in places:
                    content.presets[places[preset.name]] = preset
                else:
                    places[preset.name] = len(content.presets)
                    content.presets.append(preset)
            if len(content.presets) > MAX_PRESETS:
                raise PresetError(
                    f"this would make more than {MAX_PRESETS} presets: delete some first"
                )

    @contextlib.contextmanager
    def _changing(self) -> Iterator[_Content]:
        """The presets to change, under the lock; written when the block ends without an error."""
        # flock needs only read access, so any member of the group can lock.
        with open(
            os.open(self._lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o664), "rb"
        ) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Left over from killed writers: this process has the lock.
            for left in self.path.parent.glob(".presets.*.new"):
                left.unlink(missing_ok=True)
            content = self._read()
            yield content
            body = {
                "version": 1,
                "startup": content.startup,
                "presets": [vars(preset) for preset in content.presets],
            }
            data = json.dumps(
                body | {"sha256": digest_of(body)}, indent=1, ensure_ascii=False
            ).encode()
            if len(data) > MAX_BYTES:
                raise PresetError(
                    f"{self.path}: the presets need more than {MAX_BYTES} bytes: delete some"
                )
            if not self.warning and self.path.exists():
                self._keep_previous()
            write_atomically(self.path, lambda file: file.write(data))

    def _keep_previous(self) -> None:
        """Link the version that is about to be replaced; one of both names always exists."""
        link = self._previous.with_name(f".{self._previous.name}.new")
        try:
            os.link(self.path, link)
        except PermissionError:  # protected_hardlinks: another user's file, not writable
            write_atomically(self._previous, lambda file: file.write(self.path.read_bytes()))
            return
        os.replace(link, self._previous)
        link.unlink(missing_ok=True)  # rename has no effect between two names of one file

    def _read(self) -> _Content:
        self.warning = ""
        try:
            return self._parse(self.path)
        except FileNotFoundError:
            return _Content([], None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        try:
            content = self._parse(self._previous)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise PresetError(
                f"{self.path}: damaged, and so is {self._previous.name}: delete it to start again"
            ) from None
        self.warning = f"{self.path}: damaged; using the previous version, {self._previous.name}"
        return content

    def _parse(self, path: Path) -> _Content:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError("too long")
        table: dict[str, Any] = json.loads(data)
        digest = table.pop("sha256")
        if table["version"] != 1 or digest != digest_of(table):
            raise ValueError("damaged")
        presets = _presets(table, str(path), self._warn)
        return _Content(presets, table["startup"])

    def _warn(self, text: str) -> None:
        self.warning = text


def parse_presets(data: bytes, where: str, warn: Callable[[str], None]) -> list[Preset]:
    """The presets of a file to install: a presets.json, or the output of `nverb preset export`.

    warn: called with a line for each value that is invalid here and is left out.
    Raises PresetError.
    """
    try:
        table = json.loads(data)
        digest = table.pop("sha256", None)
        if table["version"] != 1:
            raise PresetError(
                f"{where}: version {table['version']!r} of presets, nverb here reads 1: update it"
            )
        if digest is not None and digest != digest_of(table):
            raise PresetError(f"{where}: is damaged: copy it again")
        presets = _presets(table, where, warn)
        presets = [
            Preset(_checked_name(preset.name), preset.values, preset.bank[:MAX_BANK])
            for preset in presets
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PresetError(
            f"{where}: is not a file of presets: `nverb preset export` writes one"
        ) from None
    if not presets:
        raise PresetError(f"{where}: contains no presets")
    return presets


def to_bytes(presets: list[Preset]) -> bytes:
    """The content of a file of these presets, as `parse_presets` reads it."""
    return json.dumps(
        {"version": 1, "presets": [vars(p) for p in presets]}, indent=1, ensure_ascii=False
    ).encode()


def _presets(table: Mapping[str, Any], where: str, warn: Callable[[str], None]) -> list[Preset]:
    presets = []
    for row in table["presets"][:MAX_PRESETS]:
        values = {}
        for name, value in row["values"].items():
            try:
                values[find(name).name] = check(find(name), value)
            except ValueError as error:  # of another version: the other values are valid
                warn(f"{where}, preset {row['name']!r}: {error}; left out")
        presets.append(Preset(str(row["name"]), values, str(row["bank"])))
    return presets


def digest_of(body: Mapping[str, object]) -> str:
    """SHA-256 of the canonical JSON of a file of presets without its key "sha256", in hex."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _checked_name(name: str) -> str:
    """The name with single spaces. Raises PresetError if it is invalid."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise PresetError(
            f"{name[:MAX_NAME]!r} is not a name for a preset: "
            f"use 1 to {MAX_NAME} printable characters"
        )
    return name


def _place(content: _Content, name: str) -> int:
    """The index of a preset, exact or else case-insensitive. Raises PresetError."""
    names = [preset.name for preset in content.presets]
    wanted = " ".join(name.split())
    if wanted in names:
        return names.index(wanted)
    folded = [other.casefold() for other in names]
    if folded.count(wanted.casefold()) == 1:
        return folded.index(wanted.casefold())
    hint = did_you_mean(wanted, names, count=3) if names else "there are none"
    raise PresetError(f"no preset {wanted[:MAX_NAME]!r}: {hint}")
