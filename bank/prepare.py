"""Prepares a folder of recorded IRs as rooms to train on.

As the reference plug-in's tools did, but on energy maps. Any rate and channel count; each channel
is a room. An IR shorter than SHORTEST_S is left out, one longer than LONGEST_S is cut; both are
reported. Each room is also stretched in time and shifted in pitch: on a map that is a change of
axes and needs no resampler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bank.found import recordings_in
from bank.recording import RecordingError
from dsp.acoustics import onset
from dsp.analysis import analyse
from dsp.energymap import DEFAULT_GRID, FLOOR_DB, EnergyMap, hz_to_erb

SHORTEST_S, LONGEST_S = 0.5, 6.0
"""The plug-in's limits, seconds from the onset to the end of the file."""
STRETCHES = (0.8, 0.9, 1.1, 1.2)
"""Speeds of the plug-in's tool: 0.8 makes a room a quarter longer."""
SEMITONES = (-2, -1, 1, 2)


@dataclass(frozen=True)
class Prepared:
    """Rooms of a folder, and for each file: path, remark ("" if there is none), used or not."""

    rooms: list[EnergyMap]
    names: list[str]
    files: list[tuple[Path, str, bool]]

    @property
    def taken(self) -> int:
        """The number of files that gave rooms."""
        return sum(1 for *_, taken in self.files if taken)


def prepare(
    folder: Path, *, augment: bool, progress: Callable[[int, int], None] | None = None
) -> Prepared:
    """Rooms of all recordings in `folder` and its subfolders.

    Raises RecordingError if no recording can be used, OSError.
    """
    rooms: list[EnergyMap] = []
    names: list[str] = []
    files: list[tuple[Path, str, bool]] = []
    for found in recordings_in(
        folder, any_channels=True, report=lambda line: None, progress=progress
    ):
        if found.recording is None:
            files.append((found.path, found.problem, False))
            continue
        samples, rate_hz, notes = found.recording
        length_s = (samples.shape[1] - min(onset(channel) for channel in samples)) / rate_hz
        if length_s < SHORTEST_S:
            problem = f"{found.path}: {length_s:.2f} s, shorter than {SHORTEST_S:g} s; left out"
            files.append((found.path, problem, False))
            continue
        remark = "; ".join(notes)
        if length_s > LONGEST_S:
            remark = f"{found.path}: {length_s:.1f} s, shortened to {LONGEST_S:g} s"
        for channel, sound in enumerate(samples):
            if not np.abs(sound).max() > 0:
                remark = f"{found.path}: channel {channel + 1} is silent; left out"
                continue
            begin = onset(sound)
            room = analyse(sound[begin : begin + int(LONGEST_S * rate_hz)], rate_hz, start=0)
            rooms.append(room)
            names.append(found.name + (f" channel {channel + 1}" if len(samples) > 1 else ""))
            if augment:
                rooms += [stretched(room, speed) for speed in STRETCHES]
                rooms += [shifted(room, semitones) for semitones in SEMITONES]
        files.append((found.path, remark, True))
    if not rooms:
        first = f"; the first of {len(files)}: {files[0][1]}" if files else ""
        raise RecordingError(f"{folder}: contains no usable recording{first}")
    return Prepared(rooms, names, files)


def stretched(room: EnergyMap, speed: float) -> EnergyMap:
    """The room played at `speed` without a change of pitch: decay times are divided by `speed`."""
    centre = room.grid.frame_centre_s
    inside = np.minimum(centre * speed, centre[-1])
    level = np.stack([np.interp(inside, centre, row) for row in room.level_db])
    # Beyond the last frame, continue with the slope of the last quarter.
    beyond = np.maximum(centre * speed - centre[-1], 0.0)
    quarter = int(np.searchsorted(centre, 0.75 * centre[-1]))
    slope = (room.level_db[:, -1] - room.level_db[:, quarter]) / (centre[-1] - centre[quarter])
    level += np.minimum(slope, 0.0)[:, None] * beyond
    return EnergyMap(_floored(level), room.grid, room.direct_db)


def shifted(room: EnergyMap, semitones: float) -> EnergyMap:
    """The room with all frequencies moved by `semitones`; its times stay."""
    erb = hz_to_erb(room.grid.centre_hz)
    source = hz_to_erb(room.grid.centre_hz / 2 ** (semitones / 12))
    level = np.stack([np.interp(source, erb, column) for column in room.level_db.T], axis=1)
    direct = (
        None
        if room.direct_db is None
        else np.interp(source, erb, room.direct_db).astype(np.float32)
    )
    return EnergyMap(_floored(level), room.grid, direct)


def _floored(level: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(np.maximum(level, level.max() + FLOOR_DB), np.float32)


def packed(rooms: list[EnergyMap]) -> NDArray[np.float16]:
    """Rooms on DEFAULT_GRID in the format of the training, float16 (rooms, values)."""
    from models.measures import pack_map

    assert all(room.grid == DEFAULT_GRID for room in rooms)
    return np.concatenate([pack_map(room) for room in rooms]).astype(np.float16)
