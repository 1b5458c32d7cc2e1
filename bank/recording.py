"""Reads recorded IRs, checks them, and prepares them for a room: one way for every command.

From a file to samples that can be played: its content is read as far as it goes, its channels get a
meaning (`bank.channels`), a DC offset that would be rumble goes, a long silence before the sound
goes, and what is longer than MAX_ROOM_S is cut. `notes` says which of these were needed.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bank.channels import meaning_of, with_meaning
from bank.format import Point
from bank.headers import Header, read_header, rebuilt
from bank.meaning import AUTO, Meaning
from bank.measured import is_measured, read_measured
from dsp.ending import offset_of
from dsp.errors import InvalidValue, reason
from models.reading import open_regular

if TYPE_CHECKING:
    import soundfile

Floats = NDArray[np.float32]

MAX_SECONDS, MAX_RATE_HZ = 60.0, 192_000
MAX_ROOM_S = 10.0
"""Longest room of a pedal: more of a recording is not kept."""
LEAD_S, LEAD_DB = 0.2, -50.0
"""A recording that begins with more than LEAD_S of less than LEAD_DB of its loudest 5 ms has
silence in front."""
HARMFUL_OFFSET_DB = -30.0
"""A DC offset with more than this share of a recording's energy is rumble."""
LOST_S = 0.005
"""Sound that a header promises and the file may lack."""
CHUNK_FRAMES = 1024
"""Small: what a damaged part holds is lost with it."""


class RecordingError(InvalidValue):
    """The file cannot be used as an IR. The message names the file, the problem and the remedy."""


@dataclass(frozen=True)
class ReadingOptions:
    """How recordings are read.

    | field     | what                                                              |
    |-----------|-------------------------------------------------------------------|
    | channels  | their meaning, one of `bank.channels.MEANINGS`                    |
    | angle_deg | between the two cardioids that B-format is decoded to             |
    | partial   | take a file that lacks a part of its sound                        |
    | keep_lead | keep silence before the sound, as a pre-delay                     |
    | keep_dc   | keep a DC offset, however large                                   |
    """

    channels: Meaning = AUTO
    angle_deg: float = 90.0
    partial: bool = False
    keep_lead: bool = False
    keep_dc: bool = False


class Recording(NamedTuple):
    """`samples`: float32 (channels, taps). `notes`: what was done to them, for the user."""

    samples: Floats
    rate_hz: int
    notes: tuple[str, ...] = ()


class Sound(NamedTuple):
    """The sound of a file as it is: float32 (channels, frames), what its header says, notes."""

    samples: Floats
    rate_hz: int
    header: Header
    notes: tuple[str, ...]


def why_unreadable(path: Path, error: soundfile.LibsndfileError) -> str:
    """Why libsndfile could not open a file, in words that lead to the remedy."""
    if not path.exists():
        return "no such file"
    if path.is_dir():
        return "is a folder"
    if not os.access(path, os.R_OK):
        return "permission denied"
    if path.stat().st_size == 0:
        return "is empty; copy it again"
    with open(open_regular(path), "rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            return "is a pointer to a file of Git LFS, not a sound; run `git lfs pull`"
    return f"not a sound file that can be read ({error.error_string.strip().rstrip('.')})"


def read_recording(
    path: Path, reading: ReadingOptions | None = None, *, any_channels: bool = False
) -> Recording:
    """A recording as a room, (1, 2 or 4 channels, taps). Raises RecordingError, OSError.

    `any_channels`: all channels as they are, each an IR of its own.
    """
    reading = reading or ReadingOptions()
    sound = read_sound(path, partial=reading.partial)
    samples, notes = sound.samples, list(sound.notes)
    if not any_channels:
        try:
            samples, note = with_meaning(
                samples,
                meaning_of(reading.channels, path, samples, sound.rate_hz, sound.header.ambisonic),
                reading.angle_deg,
            )
        except InvalidValue as error:
            raise RecordingError(f"{path}: {error}") from None
        notes += [f"{path}: {note}"] if note else []
    return prepared(path, Recording(samples, sound.rate_hz, tuple(notes)), reading)


def read_sound(path: Path, *, partial: bool = False) -> Sound:
    """Every sample of a sound file. Raises RecordingError, OSError."""
    import soundfile

    if path.is_dir():
        raise RecordingError(f"{path}: is a folder")
    try:
        header = read_header(path)
        measured = is_measured(path)
    except FileNotFoundError:
        raise RecordingError(f"{path}: no such file") from None
    except OSError as error:
        raise RecordingError(reason(error)) from None
    if measured:
        return _measured(path)
    try:
        sound = _decoded(path, os.fsencode(path), header)
        problem = None if sound.samples.size else f"{path}: it has no samples; export it again"
    except soundfile.LibsndfileError as error:
        problem = f"{path}: {why_unreadable(path, error)}"
    if problem is not None:
        wave = rebuilt(path)
        if wave is None:
            raise RecordingError(problem)
        try:
            sound = _decoded(path, io.BytesIO(wave), header)
        except soundfile.LibsndfileError:
            raise RecordingError(problem) from None
        if not sound.samples.size:
            raise RecordingError(problem)
    _check(path, sound.samples)
    missing = _missing(sound)
    if missing and not partial:
        raise RecordingError(
            f"{path}: {missing}; copy it again, or take what is there with --partial"
        )
    notes = (f"{path}: {missing}; the rest is taken",) if missing else ()
    return Sound(sound.samples, sound.rate_hz, sound.header, notes)


def _measured(path: Path) -> Sound:
    try:
        samples, rate_hz, notes = read_measured(path)
    except (InvalidValue, ImportError) as error:
        text = str(error)
        raise RecordingError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    if not 1000 <= rate_hz <= MAX_RATE_HZ or samples.shape[1] > MAX_SECONDS * rate_hz:
        raise RecordingError(
            f"{path}: {samples.shape[1]} samples at {rate_hz} Hz; at most {MAX_SECONDS:g} s at "
            f"{MAX_RATE_HZ} Hz"
        )
    _check(path, samples)
    return Sound(samples, rate_hz, Header(), notes)


def _decoded(path: Path, source: bytes | io.BytesIO, header: Header) -> Sound:
    """All frames that can be decoded; the share of the promised ones is in the header.

    A stream may not know its length, and a part of a file may end anywhere: read until nothing
    comes.
    """
    import soundfile

    with soundfile.SoundFile(source) as file:
        channels, rate_hz, frames = file.channels, int(file.samplerate), int(file.frames)
        if not 1000 <= rate_hz <= MAX_RATE_HZ:
            raise RecordingError(f"{path}: {rate_hz} Hz; resample it to at most {MAX_RATE_HZ} Hz")
        most = round(MAX_SECONDS * rate_hz)
        known = frames if 0 < frames < 1 << 40 else None
        if known and known > most:
            raise RecordingError(
                f"{path}: {known / rate_hz:.1f} s long; cut it to at most {MAX_SECONDS:g} s"
            )
        parts, got = [], 0
        while got <= most:
            try:
                part = file.read(CHUNK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                if not known:
                    raise
                break
            if not len(part):
                break
            parts.append(part)
            got += len(part)
    if got > most:
        raise RecordingError(
            f"{path}: more than {MAX_SECONDS:g} s long; cut it to at most {MAX_SECONDS:g} s"
        )
    samples = np.concatenate(parts) if parts else np.zeros((0, channels), np.float32)
    if header.promised is None and known and got < known:  # by frames where not by bytes
        header = Header(known, got, header.ambisonic)
    return Sound(np.ascontiguousarray(samples.T), rate_hz, header, ())


def _missing(sound: Sound) -> str:
    """The sound that the header promises and the file lacks, in words; "" if it is whole."""
    got = sound.samples.shape[1]
    share = sound.header.share
    if share >= 1 or got * (1 / max(share, 1e-9) - 1) < LOST_S * sound.rate_hz:
        return ""
    return (
        f"has {got / sound.rate_hz:.2f} s of the {got / max(share, 1e-9) / sound.rate_hz:.2f} s "
        "that its header promises: a part of a file"
    )


def _check(path: Path, samples: Floats) -> None:
    if not np.isfinite(samples).all():
        bad = int(np.argmin(np.isfinite(samples).all(axis=0)))
        raise RecordingError(f"{path}: sample {bad} is not finite; export it again")
    if not np.abs(samples).max() > 0:
        raise RecordingError(f"{path}: it is silent, all zero; choose another recording")
    if float(np.abs(samples).max()) > 1e6:
        raise RecordingError(
            f"{path}: samples up to {float(np.abs(samples).max()):.3g}, where 1 is full scale; "
            "export it again"
        )


def prepared(path: Path, recording: Recording, reading: ReadingOptions) -> Recording:
    """The recording without a harmful offset and without silence in front, at most MAX_ROOM_S long.

    Raises RecordingError.
    """
    samples, rate_hz, notes = recording
    told = list(notes)
    if samples.shape[1] > 0.1 * rate_hz and not np.ptp(samples, axis=1).any():
        raise RecordingError(
            f"{path}: {samples.shape[1] / rate_hz:.1f} s of one constant value (DC), no sound; "
            "choose another recording"
        )
    offset = offset_of(samples)
    energy = float(np.einsum("ct,ct->", samples, samples, dtype=np.float64))
    removed = float((offset.astype(np.float64) ** 2).sum()) * samples.shape[1]
    if removed > energy * 10 ** (HARMFUL_OFFSET_DB / 10) and not reading.keep_dc:
        samples = samples - offset
        told.append(f"{path}: a DC offset of {float(np.abs(offset).max()):.2g} was removed")
        if not np.abs(samples).max() > 1e-7:
            raise RecordingError(f"{path}: nothing but a DC offset; choose another recording")
    lead = silent_lead(samples, rate_hz)
    if lead > LEAD_S * rate_hz and not reading.keep_lead:
        samples = samples[:, lead:]
        told.append(
            f"{path}: {lead / rate_hz:.2f} s of silence before the sound were left out "
            "(--keep-lead keeps them)"
        )
    most = round(MAX_ROOM_S * rate_hz)
    if samples.shape[1] > most:
        seconds = samples.shape[1] / rate_hz
        if reading.keep_lead and lead > most - LEAD_S * rate_hz:
            raise RecordingError(
                f"{path}: {lead / rate_hz:.1f} s of silence before the sound, and a room has at "
                f"most {MAX_ROOM_S:g} s; leave out --keep-lead"
            )
        begin = 0 if reading.keep_lead else _loudest(samples, most, round(0.05 * rate_hz))
        samples = samples[:, begin : begin + most]
        what = "the first" if not begin else "the loudest"
        told.append(f"{path}: {seconds:.1f} s long; {what} {MAX_ROOM_S:g} s are kept")
    return Recording(np.ascontiguousarray(samples, np.float32), rate_hz, tuple(told))


def silent_lead(samples: Floats, rate_hz: int) -> int:
    """Samples before the first 5 ms that are louder than LEAD_DB of the loudest 5 ms."""
    block = max(1, int(0.005 * rate_hz))
    energy = np.einsum("ct,ct->t", samples, samples, dtype=np.float64)
    blocks = np.add.reduceat(energy, np.arange(0, len(energy), block))
    return int(np.argmax(blocks > blocks.max() * 10 ** (LEAD_DB / 10))) * block


def _loudest(samples: Floats, taps: int, step: int) -> int:
    """Where the `taps` samples with the most energy begin; 0 if the first hold 99 % of it."""
    energy = np.cumsum(np.einsum("ct,ct->t", samples, samples, dtype=np.float64))
    energy = np.concatenate([[0.0], energy])
    if energy[taps] > 0.99 * energy[-1]:
        return 0
    begins = np.append(np.arange(0, samples.shape[1] - taps, step), samples.shape[1] - taps)
    return int(begins[np.argmax(energy[begins + taps] - energy[begins])])


RING_S, RING_SHARE = 0.05, 2e-4
"""What a resampler's filter puts before the first sample: kept from where it is more than
RING_SHARE of the energy, at most RING_S."""


def at_rate(samples: Floats, rate_hz: int, to_rate_hz: int) -> Floats:
    """An IR (channels, taps) resampled as a filter: scaled by the ratio of the rates.

    A sharp sound in the first sample rings before it. That ringing is a part of its energy, so the
    result begins with it: up to some milliseconds earlier than the recording.
    """
    import soxr

    if rate_hz == to_rate_hz:
        return samples
    common = math.gcd(rate_hz, to_rate_hz)
    pad = max(1, round(RING_S * common)) * rate_hz // common
    shift = pad * to_rate_hz // rate_hz
    padded = np.pad(samples, ((0, 0), (pad, pad)))
    resampled = soxr.resample(padded.T, rate_hz, to_rate_hz, quality="VHQ").T * np.float32(
        rate_hz / to_rate_hz
    )
    energy = np.cumsum(np.einsum("ct,ct->t", resampled, resampled, dtype=np.float64))
    begin = min(int(np.searchsorted(energy, RING_SHARE * energy[-1])), shift)
    end = shift + math.ceil(samples.shape[1] * to_rate_hz / rate_hz)
    end = max(end, int(np.searchsorted(energy, (1 - RING_SHARE) * energy[-1])) + 1)
    return np.ascontiguousarray(resampled[:, begin:end], np.float32)


PLATEAU = 0.05
"""A recording of less weight than this is silent: near its place each recording plays alone."""


def weights_at(places: NDArray[np.float64], point: Point) -> list[tuple[float, int]]:
    """Weights and indices of the one or two recordings that play at a point, greater weight first.

    `places`: (recordings, 3). The weights add to 1. They are inverse distances that reach zero at
    the third nearest place (Franke and Little's weights, as in modified Shepard interpolation), so
    the sound does not jump where the second and the third nearest change places.
    """
    off = np.asarray(places) - np.asarray(point)
    away = np.einsum("ij,ij->i", off, off)  # squared
    nearest = np.argpartition(away, 2)[:3] if len(away) > 3 else np.arange(len(away))
    nearest = nearest[np.lexsort((nearest, away[nearest]))]
    order, distances = nearest.tolist(), np.sqrt(away[nearest]).tolist()
    if len(order) == 1 or distances[0] < 1e-9:
        return [(1.0, order[0])]
    reach = (distances[2] if len(order) > 2 else math.inf) * (1 + 1e-6)
    first, second = (
        ((1 / d) - (1 / reach if reach < math.inf else 0.0)) ** 2 for d in distances[:2]
    )
    share = (second / (first + second) - PLATEAU) / (1 - 2 * PLATEAU)
    return [(1 - share, order[0]), (share, order[1])] if share > 0 else [(1.0, order[0])]
