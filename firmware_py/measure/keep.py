"""What is kept of a measurement: a file, a recording in a bank of one's own, a preset."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bank.bext import write_broadcast_wave
from bank.format import Bank, Point, StoredWaveform, Waveform, write
from bank.places import knobs_of
from bank.placing import apart, finder
from device.controls import find
from dsp.errors import UserError
from dsp.loudness import normalise, of_samples
from dsp.names import free_name, name_key
from firmware_py.base.version import version
from firmware_py.measure.report import summary
from firmware_py.measure.result import Measured
from firmware_py.state.factory_presets import sound_defaults
from firmware_py.state.preset_file import MAX_NAME
from firmware_py.state.presets import Presets
from firmware_py.state.store import Slot, Store, StoreError
from models.latent import KNOB_STEPS

Floats = NDArray[np.float32]

BANK = "measured"
"""Name of the bank that measurements go to."""
FILE_NAME = f"{BANK}.nvbank"


def write_file(path: Path, measured: Measured, name: str, at: datetime) -> None:
    """A WAV with its metadata. Raises OSError."""
    remarks = "".join(f"{remark}\r\n" for remark in measured.remarks)
    write_broadcast_wave(
        path,
        measured.samples,
        measured.rate_hz,
        description=f"{name}: {summary(measured)}",
        history=f"A=FLOAT,F={measured.rate_hz},W=32,T=nverb measure\r\n{remarks}",
        at=at,
        originator=f"nverb {version()}",
    )


def measured_slot(data: Path) -> Slot | None:
    """The installed bank of measurements."""
    try:
        return Store(data).find(BANK, "bank")
    except StoreError:
        return None


def grown_bank(
    data: Path, path: Path, name: str, measured: Measured, report: Callable[[str], None]
) -> tuple[str, Point]:
    """Write the bank of measurements with one more; its name there and its place.

    Raises BankError, ModelError, OSError.
    """
    slot = measured_slot(data)
    old: list[StoredWaveform] = Bank.open(slot.path).waveforms if slot else []
    free = free_name(name, {name_key(waveform.name) for waveform in old}, MAX_NAME)
    place = (0.0, 0.0, 0.0)
    find_place = finder(None, report)
    if find_place is not None:
        place = find_place(measured.samples, measured.rate_hz)
    # Those that are there stay where they are: presets know their places.
    place = apart([*(waveform.at for waveform in old), place])[0][-1]
    new = Waveform(free, measured.rate_hz, place, measured.samples)
    write(path, name=BANK, waveforms=[*old, new])
    return free, place


def preset_values(measured: Measured, place: Point, gear: bool) -> dict[str, float]:
    """The controls of a preset that plays the recording. `gear`: as loud as what was measured, and
    nothing of the input beside it."""
    knobs = (min(max(value, 0.0), KNOB_STEPS) for value in knobs_of(place))
    values = sound_defaults() | dict(zip("xyz", knobs, strict=True))
    if gear:
        played = normalise(measured.samples, measured.rate_hz)
        louder = of_samples(measured.samples, measured.rate_hz) / of_samples(
            played, measured.rate_hz
        )
        gain = find("gain")
        gain_db = min(max(10 * math.log10(max(louder, 1e-30)), gain.minimum), gain.maximum)
        values |= {"mix": 100.0, "direct": 1.0, "gain": round(gain_db, 2)}
    return values


def save_preset(data: Path, name: str, values: dict[str, float], bank: str) -> str:
    """Save a preset for the bank as it is now, and move those of its earlier states to it.

    Returns its name. Raises PresetError, OSError.
    """
    presets = Presets(data)
    earlier = [
        replace(preset, bank=bank)
        for preset in presets.all()
        if preset.bank.partition("@")[0] == BANK and preset.bank != bank
    ]
    if earlier:
        presets.merge(earlier)
    return presets.save(name, values, bank).name if name else ""


def require_name(name: str) -> None:
    """Raises UserError for a name that no preset can have."""
    if not name.strip() or len(name) > 40:
        raise UserError(f"{name!r}: a name has 1 to 40 characters")
