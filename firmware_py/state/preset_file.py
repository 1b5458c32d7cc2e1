"""The content of a file of presets; firmware_py.state.presets keeps one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from device.controls import CONTROLS, NOT_KEPT, added_later, check, find, renamed
from device.scenes import MORPHED, blend
from dsp.errors import UserError
from dsp.names import composed, free_name, name_key
from models.reading import json_table
from models.residual import ResidualError, from_text

MAX_PRESETS = 512
"""Four MIDI banks of 128 programs."""
FULL = f"there are {MAX_PRESETS} presets already: remove one first"
MAX_NAME = 40
MAX_BYTES = 1 << 20
MAX_BANK = 4096


class PresetError(UserError):
    """Unknown preset, invalid name, full or damaged file; the message says which and what to do."""


@dataclass(frozen=True)
class Preset:
    """A preset.

    values: KEPT, in their units, of scene A where the scenes differ. bank: "" for the built-in
    rooms, NAME@HASH of an installed bank or model (see firmware_py.state.store), or a path.
    residual: "", or of models.residual. scene_b: the values of scene B that differ; none: there is
    no scene B.
    """

    name: str
    values: dict[str, float]
    bank: str = ""
    residual: str = ""
    scene_b: dict[str, float] = field(default_factory=dict)

    def complete(self) -> dict[str, float]:
        """The values of scene A, with those of controls that are newer than the preset."""
        return added_later() | self.values

    def playing(self) -> dict[str, float]:
        """The values that play: at its `morph` between the scenes."""
        values = self.complete()
        b = {name: value for name, value in self.scene_b.items() if name in values}
        return values | blend(values, b, values["morph"])


KEPT = tuple(control.name for control in CONTROLS if control.name not in NOT_KEPT)
"""Controls that a preset contains."""


@dataclass
class PresetList:
    """The content of the file: all presets in order, and the name of the startup preset."""

    presets: list[Preset]
    startup: str | None


def parse_presets(data: bytes, where: str, warn: Callable[[str], None]) -> list[Preset]:
    """The presets of a file to install: a presets.json, or the output of `nverb preset export`.

    warn: called with a line for each value that is invalid here and is left out.
    Raises PresetError.
    """
    try:
        table = json_table(data, where)
        digest = table.pop("sha256", None)
        if digest is not None and digest != digest_of(table):
            raise PresetError(f"{where}: is damaged: copy it again")
        presets = content_of(table, where, warn).presets
    except PresetError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PresetError(
            f"{where}: is not a file of presets: `nverb preset export` writes one"
        ) from None
    if not presets:
        raise PresetError(f"{where}: contains no presets")
    return presets


def to_bytes(presets: list[Preset]) -> bytes:
    """The content of a file of these presets, as `parse_presets` reads it."""
    return json.dumps(
        {"version": 1, "presets": [_row(p) for p in presets]}, indent=1, ensure_ascii=False
    ).encode()


def file_bytes(content: PresetList) -> bytes:
    """The content of presets.json."""
    body = {
        "version": 1,
        "startup": content.startup,
        "presets": [_row(preset) for preset in content.presets],
    }
    return json.dumps(body | {"sha256": digest_of(body)}, indent=1, ensure_ascii=False).encode()


def _row(preset: Preset) -> dict[str, object]:
    """A preset in a file; without residual and scene B as before there were any."""
    return {
        name: value
        for name, value in vars(preset).items()
        if value or name not in ("residual", "scene_b")
    }


def _values(table: Mapping[str, Any], warn: Callable[[str], None], where: str) -> dict[str, float]:
    """The valid values of a table; others, which may be of another version, are reported."""
    values = {}
    if said := renamed(table):
        warn(f"{where}: {said}")
    for control, value in table.items():
        try:
            values[find(control).name] = check(find(control), value)
        except ValueError as error:
            warn(f"{where}: {error}; left out")
    return values


def _of_b(scene_b: Mapping[str, float], a: Mapping[str, float]) -> dict[str, float]:
    """What is different in scene B, of the controls that may be."""
    return {
        name: value for name, value in scene_b.items() if name in MORPHED and value != a.get(name)
    }


def _residual(text: object, warn: Callable[[str], None], where: str) -> str:
    """A valid residual; "" for another, which is reported."""
    try:
        return from_text(str(text)).to_text() if text else ""
    except ResidualError as error:
        warn(f"{where}: {error}; its room is that of the latents alone")
        return ""


def content_of(table: Mapping[str, Any], where: str, warn: Callable[[str], None]) -> PresetList:
    """The presets of a table, with valid and different names, and the startup preset.

    Raises PresetError for a newer version; other errors mean that the table is no such file.
    """
    if table["version"] != 1:
        version = repr(table["version"])[:20]
        raise PresetError(f"{where}: version {version} of presets, nverb here reads 1: update it")
    presets: list[Preset] = []
    new_names: dict[str, str] = {}  # by the names in the file
    for row in table["presets"][:MAX_PRESETS]:
        written = str(row["name"])
        name = free_name(written, {name_key(preset.name) for preset in presets}, MAX_NAME)
        if name != composed(written):
            what = "its name is invalid or taken"
            warn(f"{where}, preset {written[: 2 * MAX_NAME]!r}: {what}; it is now {name!r}")
        new_names.setdefault(written, name)
        place = f"{where}, preset {name!r}"
        values = _values(row["values"], warn, place)
        scene_b = _values(row.get("scene_b", {}), warn, f"{place}, scene B")
        residual = _residual(row.get("residual"), warn, place)
        bank = str(row["bank"])[:MAX_BANK]
        presets.append(Preset(name, values, bank, residual, _of_b(scene_b, values)))
    startup = table.get("startup")
    # A name that the file does not have is that of a factory preset.
    return PresetList(
        presets, new_names.get(startup, startup) if isinstance(startup, str) else None
    )


def digest_of(body: Mapping[str, object]) -> str:
    """SHA-256 of the canonical JSON of a file of presets without its key "sha256", in hex."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
