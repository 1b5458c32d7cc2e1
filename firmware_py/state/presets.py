"""Presets: all controls and the bank under a name. One file in the data folder.

    presets.json                     UTF-8, at most MAX_BYTES
      "version": 1
      "startup": "Hall" or null      the preset after power-on
      "presets": [                   in the order of the footswitch and of MIDI program numbers,
                                     at most MAX_PRESETS
        {"name": "Hall", "bank": "", NAME@HASH or a path, "values": {"x": 3.5, "mix": 40.0, ...},
         "residual": of an encoded room (models.residual), base64,
         "scene_b": {"x": 9.0, ...} what is different in scene B}
      ]
      "sha256": of the rest, as canonical JSON

A change replaces the complete file: a temporary file is written, synced and renamed, so that a
power cut leaves the old or the new one. The versions before are kept (firmware_py.state.versions)
and `Presets.undo` goes back to them. The newest of them is read, with a warning, if the file is
damaged. The next change sets it aside as presets.damaged.json. A file that cannot be read is not
damaged: it is left alone, and changes are refused until it can be read. Writers lock each other
out; a reader never waits.

The factory presets (firmware_py.state.factory_presets) are not in the file. A preset of the player
hides the factory preset of the same name; when it is deleted, that is there again.

Names are compared as people read them (dsp.names.name_key): `Hall` and `hall` are one preset. Of
both in an older file the second gets another name, with a warning.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from device.controls import check, find
from dsp.errors import did_you_mean, reason
from dsp.names import composed, name_key
from firmware_py.base.paths import write_atomically
from firmware_py.state.preset_file import (
    FULL,
    KEPT,
    MAX_BYTES,
    MAX_NAME,
    MAX_PRESETS,
    Preset,
    PresetError,
    PresetList,
    content_of,
    digest_of,
    file_bytes,
)
from firmware_py.state.versions import Versions
from models.files import refuse_as_root, temporary_name
from models.reading import MalformedFile, json_table, read_file, require_regular

KEPT_VERSIONS = 10


class Presets:
    """The presets of a data folder. Every call reads the file: another process may change it.

    Every method raises PresetError if the file cannot be read, or if it and its previous version
    are damaged. warn: called with a line for the log when a call finds a damaged file, invalid
    values or equal names; once for each such line. factory: presets that can be loaded as well,
    and that no call changes."""

    def __init__(
        self,
        folder: Path,
        warn: Callable[[str], None] = lambda _: None,
        factory: Sequence[Preset] = (),
    ) -> None:
        self.path = folder / "presets.json"
        self._versions = Versions(self.path, KEPT_VERSIONS)
        self._previous = self._versions.files[0]
        self._damaged = folder / "presets.damaged.json"
        self._lock = folder / ".presets.lock"
        self._warn = warn
        self._factory = list(factory)
        self._told: set[str] = set()  # at the last call
        self._telling: set[str] = set()  # at this one
        self._is_damaged = False

    def names(self) -> list[str]:
        """The names in order: the index is the MIDI program number."""
        return [preset.name for preset in self.all()]

    def all(self) -> list[Preset]:
        """The player's presets in order."""
        return self._read().presets

    def factory(self) -> list[Preset]:
        """The factory presets, but those that a preset of the player hides."""
        taken = {name_key(preset.name) for preset in self._read().presets}
        return [preset for preset in self._factory if name_key(preset.name) not in taken]

    def played(self) -> list[Preset]:
        """What footswitch and MIDI play: the player's presets, or while there are none, ours."""
        return self._read().presets or self._factory

    def load(self, name: str) -> Preset:
        """The preset of that name, the player's before ours. Raises PresetError with similar
        names."""
        presets = self._read().presets + self._factory
        return presets[_place(presets, name)]

    def at(self, number: int) -> Preset | None:
        """The preset at an index of `played` (a MIDI program number, from 0), or None."""
        presets = self.played()
        return presets[number] if 0 <= number < len(presets) else None

    def following(self, current: str | None, by: int) -> list[Preset]:
        """`played` in the order of a footswitch that steps by 1 or -1, the current one last.

        They begin with the first one if `current` is unknown.
        """
        presets = self.played()
        key = name_key(current or "")
        places = [place for place, preset in enumerate(presets) if name_key(preset.name) == key]
        if not places:
            return presets if by > 0 else [*presets[:1], *reversed(presets[1:])]
        after = [*presets[places[0] + 1 :], *presets[: places[0] + 1]]
        return after if by > 0 else [*reversed(after[:-1]), after[-1]]

    @property
    def startup(self) -> Preset | None:
        """The preset after power-on; None: the defaults of the controls."""
        content = self._read()
        key = name_key(content.startup or "")
        presets = content.presets + self._factory
        return next((preset for preset in presets if name_key(preset.name) == key), None)

    def save(
        self,
        name: str,
        values: Mapping[str, float],
        bank: str = "",
        residual: str = "",
        scene_b: Mapping[str, float] | None = None,
    ) -> Preset:
        """Save values under a name, and return the preset.

        A preset of that name is replaced and keeps its spelling, else one is appended. Raises
        PresetError, ValueError for a value out of range, OSError.
        """
        a, b = (
            {key: check(find(key), scene[key]) for key in KEPT if key in scene}
            for scene in (values, scene_b or {})
        )
        preset = Preset(checked_name(name), a, bank, residual, b)
        with self._changing() as content:
            (preset,) = _put(content, [preset])
            if len(content.presets) > MAX_PRESETS:
                raise PresetError(FULL)
        return preset

    def rename(self, name: str, new: str) -> tuple[str, str]:
        """Rename a preset; its names before and now.

        Raises PresetError if it is unknown or the new name is taken.
        """
        new = checked_name(new)
        with self._changing() as content:
            place = self._own_place(content, name)
            old = content.presets[place]
            taken = {name_key(preset.name) for preset in content.presets} - {name_key(old.name)}
            if name_key(new) in taken:
                raise PresetError(
                    f"preset {new!r} exists already: remove it first, or choose another name"
                )
            content.presets[place] = replace(old, name=new)
            if content.startup == old.name:
                content.startup = new
        return old.name, new

    def remove(self, name: str) -> str:
        """Remove a preset and return its name. Raises PresetError if it is unknown."""
        with self._changing() as content:
            gone = content.presets.pop(self._own_place(content, name))
            if content.startup == gone.name:
                content.startup = None
        return gone.name

    def move(self, name: str, number: int) -> tuple[str, int]:
        """Move a preset to an index, from 0; later presets move by one. Its name and index."""
        with self._changing() as content:
            preset = content.presets.pop(self._own_place(content, name))
            number = min(max(number, 0), len(content.presets))
            content.presets.insert(number, preset)
        return preset.name, number

    def set_startup(self, name: str | None) -> None:
        """Make a preset the one after power-on; None: the defaults."""
        with self._changing() as content:
            presets = content.presets + self._factory
            content.startup = None if name is None else presets[_place(presets, name)].name

    def banks(self) -> list[str]:
        """The banks that presets refer to."""
        return sorted({preset.bank for preset in self._read().presets} - {""})

    def merge(self, presets: list[Preset]) -> list[Preset]:
        """Save these presets as save() does: all of them or, on an error, none."""
        with self._changing() as content:
            saved = _put(content, presets)
            if len(content.presets) > MAX_PRESETS:
                raise PresetError(
                    f"this would make more than {MAX_PRESETS} presets: remove some first"
                )
        return saved

    def undo(self) -> tuple[list[Preset], list[Preset]]:
        """Go back to the version before the last change; the presets before and after.

        Raises PresetError if none is left.
        """
        with self._locked():
            now = self._read()
            for place, file in enumerate(self._versions.files):
                with contextlib.suppress(OSError, MalformedFile):
                    earlier = self._parse(file)
                    if earlier != now:
                        self._write(file_bytes(earlier))
                        self._versions.drop(place + 1)
                        return now.presets, earlier.presets
            raise PresetError("no earlier presets are kept: there is nothing to undo")

    def _own_place(self, content: PresetList, name: str) -> int:
        """The index of a preset of the player. Raises PresetError, also for a factory preset."""
        presets = content.presets + self._factory
        place = _place(presets, name)
        if place >= len(content.presets):
            raise PresetError(
                f"preset {presets[place].name!r} comes with nverb and stays as it is: "
                "`nverb preset save NAME` saves a changed one"
            )
        return place

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Other writers wait."""
        refuse_as_root(self.path.parent)
        # flock needs only read access, so any member of the group can lock.
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(self._lock, flags, 0o664), "rb") as lock:
            require_regular(os.fstat(lock.fileno()).st_mode, os.fspath(self._lock))
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Left over from killed writers: this process has the lock.
            for left in self.path.parent.glob(".presets.*.new"):
                with contextlib.suppress(OSError):
                    left.unlink()
            yield

    @contextlib.contextmanager
    def _changing(self) -> Iterator[PresetList]:
        """The presets to change, under the lock; written when the block ends without an error."""
        with self._locked():
            content = self._read()
            before = PresetList(list(content.presets), content.startup)
            yield content
            if content == before and not self._is_damaged:
                return
            data = file_bytes(content)
            if len(data) > MAX_BYTES:
                raise PresetError(
                    f"{self.path}: the presets need more than {MAX_BYTES} bytes: remove some"
                )
            self._keep_old()
            self._write(data)

    def _write(self, data: bytes) -> None:
        write_atomically(self.path, lambda file: file.write(data))
        self._is_damaged = False

    def _keep_old(self) -> None:
        """Give the version that is about to be replaced another name, beside its own."""
        kept = self._damaged if self._is_damaged else self._previous
        link = self.path.with_name(temporary_name(kept))
        try:
            os.link(self.path, link)
        except FileNotFoundError:
            return  # these are the first presets
        except PermissionError:  # protected_hardlinks: another user's file, not writable
            with contextlib.suppress(MalformedFile):
                old = read_file(self.path, MAX_BYTES)
                if kept == self._previous:
                    self._versions.make_room()
                write_atomically(kept, lambda file: file.write(old))
            return
        if kept == self._previous:
            self._versions.make_room()
        os.replace(link, kept)
        link.unlink(missing_ok=True)  # rename has no effect between two names of one file

    def _read(self) -> PresetList:
        self._is_damaged = False
        self._told, self._telling = self._telling, set()
        try:
            return self._parse(self.path)
        except FileNotFoundError:
            return PresetList([], None)
        except OSError as error:
            raise self._unreadable(error) from None
        except MalformedFile:
            self._is_damaged = True
        try:
            content = self._parse(self._previous)
        except (MalformedFile, FileNotFoundError):
            raise PresetError(
                f"{self.path}: damaged, and so is {self._previous.name}: delete it to start again"
            ) from None
        except OSError as error:
            raise self._unreadable(error) from None
        self._tell(f"{self.path}: damaged; using the previous version, {self._previous.name}")
        return content

    def _unreadable(self, error: OSError) -> PresetError:
        return PresetError(
            f"the presets cannot be read ({reason(error)}) and stay as they are: "
            "check the disk, and the owner and mode of the file"
        )

    def _parse(self, path: Path) -> PresetList:
        """The content of a file. Raises OSError, MalformedFile, PresetError for a newer version."""
        table = json_table(read_file(path, MAX_BYTES), str(path))
        try:
            digest = table.pop("sha256")
            if digest != digest_of(table):
                raise ValueError("does not match its checksum")
            return content_of(table, str(path), self._tell)
        except PresetError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MalformedFile(f"{path}: {error}") from None

    def _tell(self, text: str) -> None:
        self._telling.add(text)
        if text not in self._told:
            self._warn(text)


def _put(content: PresetList, presets: Iterable[Preset]) -> list[Preset]:
    """Replace presets of the same name, which keep their spelling; append the others."""
    places = {name_key(preset.name): place for place, preset in enumerate(content.presets)}
    put = []
    for preset in presets:
        place = places.setdefault(name_key(preset.name), len(content.presets))
        if place < len(content.presets):
            content.presets[place] = replace(preset, name=content.presets[place].name)
        else:
            content.presets.append(preset)
        put.append(content.presets[place])
    return put


def checked_name(name: str) -> str:
    """A preset's name in composed form with single spaces. Raises PresetError if it is invalid."""
    name = composed(" ".join(name.split()))
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise PresetError(
            f"{name[:MAX_NAME]!r} is not a name for a preset: "
            f"use 1 to {MAX_NAME} printable characters"
        )
    return name


def _place(presets: Sequence[Preset], name: str) -> int:
    """The index of the preset of a name, as dsp.names compares names, else of a number from 1.

    Raises PresetError.
    """
    names = [preset.name for preset in presets]
    keys = [name_key(other) for other in names]
    if name_key(name) in keys:
        return keys.index(name_key(name))
    if name.isdecimal() and len(name) <= 4 and 1 <= int(name) <= len(names):
        return int(name) - 1
    hint = did_you_mean(name, names, count=3) if names else "there are none"
    raise PresetError(f"no preset {name[:MAX_NAME]!r}: {hint}")
