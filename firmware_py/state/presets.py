"""Presets: all controls and the bank under a name. One file in the data folder, changed as a whole.

    presets.json                     UTF-8, at most MAX_BYTES
      "version": 1
      "startup": "Hall" or null      what plays after power-on
      "presets": [                   in the order of footswitch and MIDI program numbers, at most MAX_PRESETS
        {"name": "Hall", "bank": "", NAME@HASH or a path, "values": {"x": 3.5, "mix": 40.0, ...}}
      ]
      "sha256": of the rest, as canonical JSON

One file, so that each change (a rename of the startup preset, say) is there wholly or not at all; it is written beside, synced and
renamed, so that it is there after a power cut. The last version but one stays as presets.previous.json: if the file is damaged,
that one is read, and said so. Changes by several processes wait for each other; a reader never waits.
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
"""As many as MIDI has program numbers."""
MAX_NAME = 40
MAX_BYTES = 1 << 20
MAX_BANK = 4096


class PresetError(UserError):
    """No such preset, a name that cannot be, a full or damaged file: the message says which, and what to do."""


@dataclass(frozen=True)
class Preset:
    """values: every control that a preset holds (all but `freeze` and `bypass`), in its unit. bank: "" for the built-in
    rooms, NAME@HASH for an installed bank or model (see firmware_py.state.store), or a path."""

    name: str
    values: dict[str, float]
    bank: str = ""


KEPT = tuple(control.name for control in CONTROLS if control.name not in NOT_KEPT)
"""Controls that a preset holds."""


@dataclass
class _Shelf:
    presets: list[Preset]
    startup: str | None


class Presets:
    """The presets of a data folder. Every call reads the file anew: another process may have changed it.

    `warning` holds a line for the log when the last call found the file damaged or values that make no sense.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "presets.json"
        self._previous = folder / "presets.previous.json"
        self._lock = folder / ".presets.lock"
        self.warning = ""

    def names(self) -> list[str]:
        """In order: a preset's place is its program number."""
        return [preset.name for preset in self._read().presets]

    def load(self, name: str) -> Preset:
        """Raises PresetError naming the nearest names."""
        shelf = self._read()
        return shelf.presets[_place(shelf, name)]

    def at(self, number: int) -> Preset | None:
        """The preset at a place (a MIDI program number, from 0), or None."""
        presets = self._read().presets
        return presets[number] if 0 <= number < len(presets) else None

    def step(self, current: str | None, by: int) -> Preset | None:
        """The preset `by` places after the current one, round and round; the first if there is no current. None: no presets."""
        presets = self._read().presets
        if not presets:
            return None
        places = [place for place, preset in enumerate(presets) if preset.name == current]
        return presets[(places[0] + by) % len(presets)] if places else presets[0]

    @property
    def startup(self) -> Preset | None:
        """What plays after power-on, or None: then the controls' defaults do."""
        shelf = self._read()
        return next((preset for preset in shelf.presets if preset.name == shelf.startup), None)

    def save(self, name: str, values: Mapping[str, float], bank: str = "") -> Preset:
        """Keeps these values under the name, in the place of a preset of that name or at the end."""
        preset = Preset(
            _checked_name(name),
            {key: check(find(key), values[key]) for key in KEPT if key in values},
            bank,
        )
        with self._changing() as shelf:
            for place, other in enumerate(shelf.presets):
                if other.name == preset.name:
                    shelf.presets[place] = preset
                    break
            else:
                if len(shelf.presets) >= MAX_PRESETS:
                    raise PresetError(f"there are {MAX_PRESETS} presets already: delete one first")
                shelf.presets.append(preset)
        return preset

    def rename(self, name: str, new: str) -> None:
        """Raises PresetError if there is none of that name, or one of the new name."""
        new = _checked_name(new)
        with self._changing() as shelf:
            place = _place(shelf, name)
            old = shelf.presets[place]
            if any(preset.name == new for preset in shelf.presets) and new != old.name:
                raise PresetError(
                    f"there is a preset {new!r} already: delete it first, or take another name"
                )
            shelf.presets[place] = Preset(new, old.values, old.bank)
            if shelf.startup == old.name:
                shelf.startup = new

    def delete(self, name: str) -> None:
        with self._changing() as shelf:
            gone = shelf.presets.pop(_place(shelf, name))
            if shelf.startup == gone.name:
                shelf.startup = None

    def move(self, name: str, number: int) -> None:
        """Puts a preset at a place, from 0; those behind it move on by one."""
        with self._changing() as shelf:
            preset = shelf.presets.pop(_place(shelf, name))
            shelf.presets.insert(min(max(number, 0), len(shelf.presets)), preset)

    def set_startup(self, name: str | None) -> None:
        """Has this preset play after power-on; None: the defaults."""
        with self._changing() as shelf:
            shelf.startup = None if name is None else shelf.presets[_place(shelf, name)].name

    def banks(self) -> list[str]:
        """The banks that presets refer to."""
        return sorted({preset.bank for preset in self._read().presets} - {""})

    def merge(self, presets: list[Preset]) -> None:
        """Keeps these presets, in the place of those of the same names or at the end: all of them or, on an error, none."""
        with self._changing() as shelf:
            places = {preset.name: place for place, preset in enumerate(shelf.presets)}
            for preset in presets:
                if preset.name in places:
                    shelf.presets[places[preset.name]] = preset
                else:
                    places[preset.name] = len(shelf.presets)
                    shelf.presets.append(preset)
            if len(shelf.presets) > MAX_PRESETS:
                raise PresetError(
                    f"these would make more than {MAX_PRESETS} presets: delete some first"
                )

    @contextlib.contextmanager
    def _changing(self) -> Iterator[_Shelf]:
        # To read is enough for the lock: whoever of the group made the file, the others can take it.
        with open(
            os.open(self._lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o664), "rb"
        ) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.path.parent.glob(
                ".presets.*.new"
            ):  # by a writer that was killed: the lock is ours now
                left.unlink(missing_ok=True)
            shelf = self._read()
            yield shelf
            body = {
                "version": 1,
                "startup": shelf.startup,
                "presets": [vars(preset) for preset in shelf.presets],
            }
            data = json.dumps(
                body | {"sha256": digest_of(body)}, indent=1, ensure_ascii=False
            ).encode()
            if len(data) > MAX_BYTES:
                raise PresetError(
                    f"{self.path}: the presets would take more than {MAX_BYTES} bytes: delete some"
                )
            if not self.warning and self.path.exists():
                self._keep_previous()
            write_atomically(self.path, lambda file: file.write(data))

    def _keep_previous(self) -> None:
        """A second name for the version that is about to be replaced: no copy, and never a moment without either."""
        link = self._previous.with_name(f".{self._previous.name}.new")
        try:
            os.link(self.path, link)
        except PermissionError:  # Linux lets nobody link to another's file that he may not write
            write_atomically(self._previous, lambda file: file.write(self.path.read_bytes()))
            return
        os.replace(link, self._previous)
        link.unlink(missing_ok=True)  # replacing a name by another of the same file does nothing

    def _read(self) -> _Shelf:
        self.warning = ""
        try:
            return self._parse(self.path)
        except FileNotFoundError:
            return _Shelf([], None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        try:
            shelf = self._parse(self._previous)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise PresetError(
                f"{self.path}: damaged, and so is {self._previous.name}: delete it to begin anew"
            ) from None
        self.warning = f"{self.path}: damaged; the version before it is used"
        return shelf

    def _parse(self, path: Path) -> _Shelf:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError("too long")
        table: dict[str, Any] = json.loads(data)
        digest = table.pop("sha256")
        if table["version"] != 1 or digest != digest_of(table):
            raise ValueError("not whole")
        presets = _presets(table, str(path), self._warn)
        return _Shelf(presets, table["startup"])

    def _warn(self, text: str) -> None:
        self.warning = text


def parse_presets(data: bytes, where: str, warn: Callable[[str], None]) -> list[Preset]:
    """The presets of a file to be installed: another pedal's presets.json, or what `nverb preset export` writes. `warn` gets a line for
    each value that makes no sense here and is left out. Raises PresetError."""
    try:
        table = json.loads(data)
        digest = table.pop("sha256", None)
        if table["version"] != 1:
            raise PresetError(
                f"{where}: presets of version {table['version']!r}, this nverb reads 1: update nverb"
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
        raise PresetError(f"{where}: holds no presets")
    return presets


def to_bytes(presets: list[Preset]) -> bytes:
    """A file of these presets, which `parse_presets` reads."""
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
            except (
                ValueError
            ) as error:  # by another version of the pedal: the rest of the preset is good
                warn(f"{where}, preset {row['name']!r}: {error}; left out")
        presets.append(Preset(str(row["name"]), values, str(row["bank"])))
    return presets


def digest_of(body: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise PresetError(
            f"{name[:MAX_NAME]!r} is no name for a preset: 1 to {MAX_NAME} printable characters"
        )
    return name


def _place(shelf: _Shelf, name: str) -> int:
    names = [preset.name for preset in shelf.presets]
    wanted = " ".join(name.split())
    if wanted in names:
        return names.index(wanted)
    folded = [other.casefold() for other in names]
    if folded.count(wanted.casefold()) == 1:
        return folded.index(wanted.casefold())
    hint = did_you_mean(wanted, names, count=3) if names else "there are none"
    raise PresetError(f"no preset {wanted[:MAX_NAME]!r}: {hint}")
