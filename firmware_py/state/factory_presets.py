"""The presets that come with nverb: models/shipped/presets.json, beside the built-in rooms."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from device.controls import defaults
from firmware_py.state.preset_file import KEPT, MAX_BYTES, Preset, parse_presets
from models.files import SHIPPED
from models.reading import read_file

PATH = SHIPPED / "presets.json"
LEFT_ALONE = (
    "gain",
    "level",
    "kill_dry",
    "mix_law",
    "fade",
    "morph_glide_s",
    "tails",
    "trails",
    "limiter",
    "resampling",
)
"""Controls that a factory preset does not move: they belong to the player's set-up."""


def sound_defaults() -> dict[str, float]:
    """The defaults of the controls that make the sound: a preset of these alone is neutral."""
    return {name: defaults()[name] for name in KEPT if name not in LEFT_ALONE}


@lru_cache
def factory_presets() -> tuple[Preset, ...]:
    """Our presets. The file has the controls that differ from their defaults.

    Raises PresetError or OSError if nverb is installed incompletely.
    """

    def refuse(line: str) -> None:
        raise ValueError(line)

    rows = parse_presets(read_file(PATH, MAX_BYTES), str(PATH), warn=refuse)
    return tuple(replace(row, values=sound_defaults() | row.values) for row in rows)
