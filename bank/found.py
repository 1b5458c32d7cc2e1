"""The recordings of a folder: whatever libsndfile opens, by content, in all subfolders.

One list for every command: what is taken, and what is left out and why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bank.channels import Chosen, Group, grouped_files, partners, with_meaning
from bank.recording import (
    ReadingOptions,
    Recording,
    RecordingError,
    prepared,
    read_recording,
    read_sound,
)
from dsp.errors import reason

NOT_SOUND = (".csv", ".md", ".pdf", ".png", ".txt")
"""Files that lie beside recordings: left out without a look."""


class FoundRecording(NamedTuple):
    """A file, or the files of one recording: its recording, or why it is left out."""

    name: str
    """Relative to the folder, with `/` between folders."""
    path: Path
    recording: Recording | None
    problem: str


def sound_files(folder: Path, report: Callable[[str], None]) -> list[Path]:
    """All files of a folder and of the folders in it that may be sounds, in the order of names.

    `report` gets a line for each link to a folder, which is not followed.
    """
    found = []
    for place, folders, names in os.walk(folder):
        for name in sorted(folders):
            if os.path.islink(os.path.join(place, name)):
                report(f"{os.path.join(place, name)}: a link to a folder; left out")
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if not name.startswith(".") and path.suffix.lower() not in NOT_SOUND:
                found.append(path)
    return sorted(found)


def recordings_in(
    folder: Path,
    reading: ReadingOptions | None = None,
    *,
    any_channels: bool = False,
    report: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[FoundRecording]:
    """Every file of a folder, read. `report` gets a line for each that is left out or changed.

    With `any_channels` each channel is an IR of its own, and no files are joined. Raises
    RecordingError for a folder that is not there.
    """
    if not folder.is_dir():
        raise RecordingError(f"{folder}: no such folder")
    reading = reading or ReadingOptions()
    files = sound_files(folder, report)
    joined = files if any_channels else grouped_files(files, numbered=_numbered(reading))
    for number, one in enumerate(joined, 1):
        for found in _read(folder, one, reading, any_channels):
            for line in found.recording.notes if found.recording else (found.problem,):
                report(line)
            yield found
        if progress:
            progress(number, len(joined))


def read_one(path: Path, reading: ReadingOptions) -> Recording:
    """One recording, with the other files of it if the channels are asked from `lr-files`.

    Raises RecordingError, OSError.
    """
    if reading.channels != "lr-files":
        return read_recording(path, reading)
    group = partners(path, numbered=True)
    if group is None:
        raise RecordingError(
            f"{path}: no files beside it that are its other channels; "
            "name them NAME_L and NAME_R, or NAME_LL, NAME_LR, NAME_RL and NAME_RR"
        )
    return _joined(group, reading)


def _numbered(reading: ReadingOptions) -> bool:
    return reading.channels == "lr-files"


def _read(
    folder: Path, one: Path | Group, reading: ReadingOptions, any_channels: bool
) -> Iterator[FoundRecording]:
    if isinstance(one, Group):
        try:
            recording = _joined(one, reading)
        except _NotOne:
            for path in one.paths:
                yield from _read(folder, path, reading, any_channels)
        except (RecordingError, OSError) as error:
            problem = f"{reason(error)}; left out"
            yield FoundRecording(_name(folder, one.paths[0]), one.paths[0], None, problem)
        else:
            yield FoundRecording(_name(folder, one.paths[0]), one.paths[0], recording, "")
        return
    try:
        recording = read_recording(one, reading, any_channels=any_channels)
    except (RecordingError, OSError) as error:
        yield FoundRecording(_name(folder, one), one, None, f"{reason(error)}; left out")
    else:
        yield FoundRecording(_name(folder, one), one, recording, "")


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


class _NotOne(Exception):
    """The files are recordings of their own."""


def _joined(group: Group, reading: ReadingOptions) -> Recording:
    sounds = [read_sound(path, partial=reading.partial) for path in group.paths]
    if len({s.rate_hz for s in sounds}) > 1 or any(len(s.samples) > 1 for s in sounds):
        raise _NotOne
    samples = np.zeros((len(sounds), max(s.samples.shape[1] for s in sounds)), np.float32)
    for row, sound in zip(samples, sounds, strict=True):
        row[: sound.samples.shape[1]] = sound.samples[0]
    path = group.paths[0]
    why = f"{len(sounds)} files, by their names"
    samples, note = with_meaning(samples, Chosen(group.meaning, why), reading.angle_deg)
    notes = (*(line for sound in sounds for line in sound.notes), f"{path}: {note}")
    return prepared(path, Recording(samples, sounds[0].rate_hz, notes), reading)
