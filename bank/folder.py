"""Imports folders of recordings as banks, and exports banks as folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bank.format import Bank, BankError, Point, Waveform, axis_points, write
from bank.places import COORDINATES, read_places, to_csv
from bank.recording import RecordingError, mono, read_recording
from bank.sound import write_sound
from dsp.analysis import analyse
from dsp.synthesis import Synthesiser
from models.files import require_space, write_atomically
from models.latent import LATENT_HIGH, LATENT_LOW

Finder = Callable[[NDArray[np.float32], int], Point]

SOUND_FILES = (".wav", ".flac", ".aif", ".aiff", ".ogg")


def import_folder(
    folder: Path,
    path: Path,
    *,
    coordinates: Path | None,
    encoder: Path | None = None,
    report: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, Point]]:
    """Write a bank of the recordings in the folder and in folders of it. Returns their places.

    `report` gets a line for each file that is left out. The recordings are placed by the first of
    these that is available:

    1. `coordinates`, a CSV file as `bank.places` reads it; or coordinates.csv in the folder
    2. `encoder`, an imported plug-in encoder
    3. nverb's own encoder
    4. decay time, spread along x; this is reported

    Raises BankError if no file can be used, ModelError for a bad `encoder`, OSError.
    """
    if not folder.is_dir():
        raise BankError(f"{folder}: no such folder")
    if coordinates is None and encoder is None and (folder / COORDINATES).exists():
        coordinates = folder / COORDINATES
    require_space(path, 0)
    files = _recordings(folder, report)
    if not files:
        raise BankError(f"{folder}: contains no usable recording")
    places = read_places(coordinates, report) if coordinates else {}
    find = None if places else _finder(encoder, report)
    taken = []
    for number, file in enumerate(files, 1):
        try:
            samples, rate_hz = read_recording(file)
        except RecordingError as error:
            report(str(error))
            continue
        name = file.relative_to(folder).as_posix()
        known = name if name in places else file.name
        if places and known not in places:
            report(f"{file}: not in {coordinates}; left out")
            continue
        place = find(samples, rate_hz) if find else places.get(known, (0.0, 0.0, 0.0))
        taken.append(Waveform(name, rate_hz, place, samples))
        if progress:
            progress(number, len(files))
    if not taken:
        raise BankError(f"{folder}: contains no usable recording")
    if not places and not find:
        taken.sort(key=_decay_s)
        spread = axis_points(len(taken), LATENT_LOW, LATENT_HIGH)
        taken = [
            Waveform(w.name, w.rate_hz, (x, 0.0, 0.0), w.samples)
            for w, x in zip(taken, spread, strict=True)
        ]
    write(path, name=folder.resolve().name, waveforms=taken)
    return [(waveform.name, waveform.at) for waveform in taken]


def _recordings(folder: Path, report: Callable[[str], None]) -> list[Path]:
    """The sound files of a folder and of the folders in it, in the order of their names."""
    found = []
    for place, folders, names in os.walk(folder):
        for name in sorted(folders):
            if os.path.islink(os.path.join(place, name)):
                report(f"{os.path.join(place, name)}: a link to a folder; left out")
        found += [
            Path(place, name)
            for name in names
            if Path(name).suffix.lower() in SOUND_FILES and not name.startswith("._")
        ]
    return sorted(found)


def _finder(encoder: Path | None, report: Callable[[str], None]) -> Finder | None:
    """A function that places a recording with an encoder. None, reported, if ours cannot run."""
    from models.decoder import Decoder, Encoder, ModelError, PluginEncoder
    from models.reference import RATE_HZ

    def bounded(latent: NDArray[np.float32]) -> Point:
        x, y, z = (float(value) for value in np.clip(latent[:3], LATENT_LOW, LATENT_HIGH))
        return x, y, z

    if encoder is not None:
        plugin = PluginEncoder.open(encoder)
        return lambda samples, rate_hz: bounded(plugin.encode(mono(samples, rate_hz, RATE_HZ)))
    try:
        own, decoder = Encoder.open(), Decoder.open()
    except (ModelError, OSError) as error:
        reason = "none is installed" if isinstance(error, OSError) else str(error)
        report(
            f"no encoder to place the recordings ({reason}): "
            "they are spread along x by their decay; give their places in a CSV file"
        )
        return None

    def find(samples: NDArray[np.float32], rate_hz: int) -> Point:
        # Use the loudest channel: the sum of two microphones is comb-filtered.
        loudest = samples[int(np.argmax((samples**2).sum(axis=1)))]
        return bounded(own.encode(analyse(loudest, rate_hz), decoder, limit=LATENT_HIGH)[0])

    return find


def _decay_s(waveform: Waveform) -> float:
    """The time by which 99.9 % of the energy has arrived."""
    energy = np.cumsum((waveform.samples.astype(np.float64) ** 2).sum(axis=0))
    return float(np.searchsorted(energy, 0.999 * energy[-1]) / waveform.rate_hz)


def _free_name(name: str, taken: set[str]) -> str:
    """The file of a recording: its own name, or with a number if another has it already."""
    stem = os.path.splitext(name)[0].replace("/", " ").strip() or "recording"
    free, number = f"{stem}.wav", 1
    while free.casefold() in taken:
        number += 1
        free = f"{stem} {number}.wav"
    return free


def export_folder(
    bank: Bank, folder: Path, *, rate_hz: int, progress: Callable[[int, int], None] | None = None
) -> int:
    """Write recordings unchanged and rooms synthesised at `rate_hz`, with a coordinates.csv.

    The files are WAV, 32-bit float. Recordings keep their names; the second of equal ones gets a
    number. Returns how many. Raises OSError.
    """

    def write_wav(name: str, samples: NDArray[np.float32], at_hz: int) -> None:
        write_sound(
            folder / name, at_hz, len(samples), lambda file: file.write(samples.T), durable=False
        )

    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Point] = {}
    total = len(bank.waveforms) + bank.steps**3
    for waveform in bank.waveforms:
        name = _free_name(waveform.name, {name.casefold() for name in rows})
        write_wav(name, waveform.samples, waveform.rate_hz)
        rows[name] = waveform.at
        if progress:
            progress(len(rows), total)
    if bank.steps:
        synthesise = Synthesiser(rate_hz, bank.grid)
        axis = axis_points(bank.steps, bank.low, bank.high)
        for i, x in enumerate(axis):
            for j, y in enumerate(axis):
                for k, z in enumerate(axis):
                    name = f"room {i:02d} {j:02d} {k:02d}.wav"
                    write_wav(name, synthesise(bank.energy_map(x, y, z)), rate_hz)
                    rows[name] = (x, y, z)
                    if progress:
                        progress(len(rows), total)
    table = to_csv(rows.items())
    write_atomically(folder / COORDINATES, lambda file: file.write(table))
    return len(rows)
