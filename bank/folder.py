"""Imports folders of recordings as banks, and exports banks as folders."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bank.format import (
    MAX_WAVEFORMS,
    Bank,
    BankError,
    Point,
    StoredWaveform,
    axis_points,
    write,
)
from bank.found import recordings_in
from bank.places import COORDINATES, read_places, to_csv
from bank.placing import apart, decay_s, finder
from bank.recording import ReadingOptions, Recording
from bank.sound import write_sound
from dsp.errors import UserError, did_you_mean
from dsp.synthesis import Synthesiser
from models.files import require_space, write_atomically
from models.latent import LATENT_HIGH, LATENT_LOW

MAX_NAME_BYTES = 255
"""Of a file, on the file systems of Linux."""


class FolderImport(NamedTuple):
    """What an import did: names and places of the recordings taken, files left out, recordings
    moved apart and the largest move in latent units."""

    places: list[tuple[str, Point]]
    left_out: int
    moved: int
    furthest: float


def import_folder(
    folder: Path,
    path: Path,
    *,
    coordinates: Path | None,
    encoder: Path | None = None,
    reading: ReadingOptions | None = None,
    report: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> FolderImport:
    """Write a bank of the recordings in the folder and in folders of it.

    `report` gets a line for each file that is left out, or is not taken as it is. The recordings
    are placed by the first of these that is available:

    1. `coordinates`, a CSV file as `bank.places` reads it; or coordinates.csv in the folder
    2. `encoder`, an imported plug-in encoder
    3. nverb's own encoder
    4. decay time, spread along x; this is reported

    Those that an encoder puts at one point are moved apart. Memory: that of one recording at a
    time. Raises BankError if no file can be used, ModelError for a bad `encoder`, OSError.
    """
    if not folder.is_dir():
        raise BankError(f"{folder}: no such folder")
    require_space(path, 0)
    if coordinates is None and encoder is None and (folder / COORDINATES).exists():
        coordinates = folder / COORDINATES
    places = read_places(coordinates, report) if coordinates else {}
    find = None if places else finder(encoder, report)
    stems = {Path(name).with_suffix("").as_posix(): name for name in places}
    left_out, decays = 0, []
    with tempfile.TemporaryFile(dir=path.parent) as spool:
        taken: list[StoredWaveform] = []
        for found in recordings_in(folder, reading, report=report, progress=progress):
            if found.recording is None:
                left_out += 1
                continue
            known = _row_of(found.name, places, stems) if places else found.name
            if known is None:
                report(f"{found.path}: not in {coordinates}; left out")
                left_out += 1
                continue
            if len(taken) == MAX_WAVEFORMS:
                report(f"{found.path}: a bank has at most {MAX_WAVEFORMS} recordings; left out")
                left_out += 1
                continue
            samples, rate_hz, _ = found.recording
            place = find(samples, rate_hz) if find else places.get(known, (0.0, 0.0, 0.0))
            decays.append(decay_s(samples, rate_hz))
            # An export writes WAV: the table keeps the names of other formats.
            name = known if known.count("/") == found.name.count("/") else found.name
            taken.append(_kept(spool, name, place, found.recording))
        if not taken:
            raise BankError(f"{folder}: contains no usable recording")
        taken, moves = _placed(taken, [] if places else decays, find is not None, report)
        require_space(path, spool.tell())
        write(path, name=folder.resolve().name, waveforms=taken)
    at = [(waveform.name, waveform.at) for waveform in taken]
    return FolderImport(at, left_out, sum(move > 0 for move in moves), max(moves))


def _placed(
    taken: list[StoredWaveform],
    decays: list[float],
    found: bool,
    report: Callable[[str], None],
) -> tuple[list[StoredWaveform], list[float]]:
    """The recordings at their places, and how far each moved.

    Those that an encoder `found` are moved apart; without it they are spread along x by their
    `decays`. Without `decays` they are in a table and stay there, also at equal places.
    """
    if not decays:
        equal = len(taken) - len({waveform.at for waveform in taken})
        if equal:
            report(
                f"{equal} recordings have the place of another; "
                "`nverb use BANK --recording NAME` plays each"
            )
        return taken, [0.0]
    if found:
        moved, moves = apart([waveform.at for waveform in taken])
        return [_at(w, at) for w, at in zip(taken, moved, strict=True)], moves
    order = np.argsort(decays, kind="stable")
    spread = axis_points(len(taken), LATENT_LOW, LATENT_HIGH)
    return [_at(taken[i], (x, 0.0, 0.0)) for i, x in zip(order, spread, strict=True)], [0.0]


def _row_of(name: str, places: dict[str, Point], stems: dict[str, str]) -> str | None:
    """The name under which the table has a file: its path, its path with another ending, its name
    alone."""
    if name in places:
        return name
    stem = Path(name).with_suffix("").as_posix()
    return stems.get(stem) or (Path(name).name if Path(name).name in places else None)


def _at(waveform: StoredWaveform, place: Point) -> StoredWaveform:
    return StoredWaveform(
        waveform.name, waveform.rate_hz, place, waveform.channels, waveform.taps, waveform.read
    )


def _kept(spool: BinaryIO, name: str, place: Point, recording: Recording) -> StoredWaveform:
    """The recording in a temporary file, so that a folder of any size needs little memory."""
    samples = recording.samples
    data = np.ascontiguousarray(samples, "<f4").tobytes()
    begin = spool.tell()
    spool.write(data)
    spool.flush()
    read = partial(os.pread, spool.fileno(), len(data), begin)
    return StoredWaveform(name, recording.rate_hz, place, len(samples), int(samples.shape[1]), read)


def export_folder(
    bank: Bank,
    folder: Path,
    *,
    rate_hz: int,
    report: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write recordings unchanged and rooms synthesised at `rate_hz`, with a coordinates.csv.

    The files are WAV, 32-bit float, under the recordings' own names, so that an import of the
    folder gives the same bank; `report` gets a line for each name that cannot be kept. Returns how
    many. Raises OSError.
    """

    def write_wav(name: str, samples: NDArray[np.float32], at_hz: int) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_sound(
            folder / name, at_hz, len(samples), lambda file: file.write(samples.T), durable=False
        )

    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, Point]] = []
    total = len(bank.waveforms) + bank.steps**3
    used: set[str] = set()
    for waveform in bank.waveforms:
        name = file_name(waveform.name, used)
        if name != Path(waveform.name).with_suffix(".wav").as_posix():
            report(f"{waveform.name[:80]}: written as {name[:80]}, because of the file system")
        used.add(name.casefold())
        write_wav(name, waveform.samples, waveform.rate_hz)
        same = Path(name).with_suffix("") == Path(waveform.name).with_suffix("")
        rows.append((waveform.name if same else name, waveform.at))
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
                    rows.append((name, (x, y, z)))
                    if progress:
                        progress(len(rows), total)
    table = to_csv(rows)
    write_atomically(folder / COORDINATES, lambda file: file.write(table))
    return len(rows)


def export_recording(path: Path, name: str, to: Path) -> None:
    """Write one recording of a bank. Raises BankError, UserError, OSError."""
    waveforms = Bank.open(path).waveforms
    number = recording_number([waveform.name for waveform in waveforms], name, path.name)
    samples, rate_hz = waveforms[number].samples, waveforms[number].rate_hz
    write_sound(to, rate_hz, len(samples), lambda file: file.write(samples.T))


def recording_number(names: Sequence[str], wanted: str, bank: str) -> int:
    """The number of the recording with this name, with or without its ending. Raises UserError."""
    by_name = {name: number for number, name in enumerate(names)}
    stems = {Path(name).stem: number for name, number in by_name.items()}
    number = by_name.get(wanted, stems.get(wanted))
    if number is None:
        hint = did_you_mean(wanted, [*by_name, *stems])
        raise UserError(f"{bank}: no recording {wanted!r}: {hint}")
    return number


def file_name(name: str, used: set[str]) -> str:
    """A path below a folder for a recording of this name: ends in .wav, every part at most
    MAX_NAME_BYTES long and legal, and not in `used` (lower case)."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")] or ["recording"]
    parts[-1] = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", parts[-1]) + ".wav"
    # A dot in front would hide the file from the next import.
    parts = [re.sub(r"[\0\r\n]", "_", part) for part in parts]
    parts = ["_" + part[1:] if part.startswith(".") else part for part in parts]
    parts = [_shortened(part, "") for part in parts[:-1]] + [_shortened(parts[-1], ".wav")]
    whole = "/".join(parts)
    number = 2
    while whole.casefold() in used:
        whole = "/".join([*parts[:-1], _shortened(parts[-1], f" {number}.wav")])
        number += 1
    return whole


def _shortened(part: str, ending: str) -> str:
    """A name with this ending, cut in front of it if it is too long."""
    stem = part.removesuffix(".wav") if ending else part
    # Room for the hidden name under which a file is written first.
    most = MAX_NAME_BYTES - len(ending)
    while len((stem).encode(errors="surrogateescape")) > most:
        stem = stem[:-1]
    return stem + ending
