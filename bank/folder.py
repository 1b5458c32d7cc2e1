"""Folders of recordings into a bank, and back."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bank.format import Bank, BankError, Waveform, write
from bank.recording import RecordingError, read_recording
from dsp.synthesis import Synthesiser

SOUND_FILES = (".wav", ".flac", ".aif", ".aiff", ".ogg")
COORDINATES = "coordinates.csv"


def import_folder(folder: Path, path: Path, *, coordinates: Path | None, report: Callable[[str], None]) -> int:
    """Writes a bank of the folder's recordings; how many. Places: `coordinates`, a CSV of name,x,y,z (else the folder's
    coordinates.csv), else spread along x by their decay. `report` gets a line for each file that cannot be taken.

    Raises BankError if none can, OSError.
    """
    if not folder.is_dir():
        raise BankError(f"{folder}: no such folder")
    if coordinates is None and (folder / COORDINATES).exists():
        coordinates = folder / COORDINATES
    places = _read_places(coordinates) if coordinates else {}
    taken = []
    for file in sorted(p for p in folder.iterdir() if p.suffix.lower() in SOUND_FILES):
        try:
            samples, rate_hz = read_recording(file)
        except RecordingError as error:
            report(str(error))
            continue
        if places and file.name not in places:
            report(f"{file}: not in {coordinates}; left out")
            continue
        taken.append(Waveform(file.name, rate_hz, places.get(file.name, (0.0, 0.0, 0.0)), samples))
    if not taken:
        raise BankError(f"{folder}: holds no recording that can be used")
    if not places:
        taken.sort(key=_decay_s)
        spread = np.linspace(-2, 2, len(taken)) if len(taken) > 1 else np.zeros(1)
        taken = [
            Waveform(w.name, w.rate_hz, (float(x), 0.0, 0.0), w.samples) for w, x in zip(taken, spread, strict=True)
        ]
    write(path, name=folder.resolve().name, waveforms=taken)
    return len(taken)


def _decay_s(waveform: Waveform) -> float:
    """When 99.9 % of the energy is through."""
    energy = np.cumsum((waveform.samples.astype(np.float64) ** 2).sum(axis=0))
    return float(np.searchsorted(energy, 0.999 * energy[-1]) / waveform.rate_hz)


def _read_places(path: Path) -> dict[str, tuple[float, float, float]]:
    places = {}
    with open(path, newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or row[:1] == ["name"]:
                continue
            try:
                name, x, y, z = row
                place = (float(x), float(y), float(z))
                if not all(math.isfinite(v) and abs(v) <= 1e6 for v in place):
                    raise ValueError("a coordinate is out of range")
            except ValueError as error:
                raise BankError(f"{path}, line {number}: {error}; write name,x,y,z") from None
            places[name] = place
    return places


def export_folder(bank: Bank, folder: Path, *, rate_hz: int, progress: Callable[[int, int], None] | None = None) -> int:
    """Writes the bank's recordings as they are, and its rooms synthesised at `rate_hz`, as 32-bit float WAV files with a
    coordinates.csv; how many. Raises OSError."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, float, float, float]] = []
    total = len(bank.waveforms) + bank.steps**3
    for number, waveform in enumerate(bank.waveforms):
        name = f"{number:04d} {Path(waveform.name).stem}.wav".replace("/", "_")
        soundfile.write(folder / name, waveform.samples.T, waveform.rate_hz, subtype="FLOAT")
        rows.append((name, *waveform.at))
        if progress:
            progress(len(rows), total)
    if bank.steps:
        synthesise = Synthesiser(rate_hz, bank.grid)
        axis = (
            np.linspace(bank.low, bank.high, bank.steps) if bank.steps > 1 else np.array([(bank.low + bank.high) / 2])
        )
        for i, x in enumerate(axis):
            for j, y in enumerate(axis):
                for k, z in enumerate(axis):
                    name = f"room {i:02d} {j:02d} {k:02d}.wav"
                    soundfile.write(folder / name, synthesise(bank.energy_map(x, y, z)).T, rate_hz, subtype="FLOAT")
                    rows.append((name, float(x), float(y), float(z)))
                    if progress:
                        progress(len(rows), total)
    with open(folder / COORDINATES, "w", newline="") as file:
        csv.writer(file).writerows([("name", "x", "y", "z"), *rows])
    return len(rows)
