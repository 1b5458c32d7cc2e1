"""Reads recorded IRs and checks them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bank.format import Point
from dsp.errors import InvalidValue

if TYPE_CHECKING:
    import soundfile

MAX_SECONDS, MAX_RATE_HZ = 60.0, 192_000


class RecordingError(InvalidValue):
    """The file cannot be used as an IR. The message names the file, the problem and the remedy."""


def why_unreadable(path: Path, error: soundfile.LibsndfileError) -> str:
    """Why libsndfile could not open a file, in words that lead to the remedy."""
    if not path.exists():
        return "no such file"
    if path.is_dir():
        return "is a folder"
    if not os.access(path, os.R_OK):
        return "permission denied"
    return f"not a sound file that can be read ({error.error_string.strip().rstrip('.')})"


def read_recording(path: Path, *, any_channels: bool = False) -> tuple[NDArray[np.float32], int]:
    """The samples, float32 (channels, taps), and their rate in Hz. Raises RecordingError.

    1, 2 or 4 channels, or any number with `any_channels`.
    """
    import soundfile

    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            channels, rate_hz, frames = file.channels, int(file.samplerate), int(file.frames)
            if channels not in (1, 2, 4) and not any_channels:
                raise RecordingError(
                    f"{path}: {channels} channels; "
                    "an IR has 1, 2 or 4 (L to L, L to R, R to L, R to R)"
                )
            if not 1000 <= rate_hz <= MAX_RATE_HZ:
                raise RecordingError(
                    f"{path}: {rate_hz} Hz; resample it to at most {MAX_RATE_HZ} Hz"
                )
            if frames > MAX_SECONDS * rate_hz:
                raise RecordingError(
                    f"{path}: {frames / rate_hz:.1f} s long; cut it to at most {MAX_SECONDS:g} s"
                )
            samples = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise RecordingError(f"{path}: {why_unreadable(path, error)}") from None
    if not len(samples):
        raise RecordingError(f"{path}: it has no samples; record or export it again")
    if not np.isfinite(samples).all():
        raise RecordingError(f"{path}: it has samples that are not finite; export it again")
    if not np.abs(samples).max():
        raise RecordingError(f"{path}: it is silent, all zero; choose another recording")
    return np.ascontiguousarray(samples.T), rate_hz


def mono(samples: NDArray[np.float32], rate_hz: int, to_rate_hz: int) -> NDArray[np.float32]:
    """The mean of all channels of a recording (channels, taps), resampled: float32 (taps,)."""
    import soxr

    mean = samples.mean(axis=0)
    return (
        mean
        if rate_hz == to_rate_hz
        else np.asarray(soxr.resample(mean, rate_hz, to_rate_hz, "VHQ"), np.float32)
    )


def at_rate(samples: NDArray[np.float32], rate_hz: int, to_rate_hz: int) -> NDArray[np.float32]:
    """An IR (channels, taps) resampled as a filter: scaled by the ratio of the rates."""
    import soxr

    if rate_hz == to_rate_hz:
        return samples
    resampled = soxr.resample(samples.T, rate_hz, to_rate_hz, quality="VHQ").T * np.float32(
        rate_hz / to_rate_hz
    )
    return np.ascontiguousarray(resampled, np.float32)


PLATEAU = 0.05
"""A recording of less weight than this is silent: near its place each recording plays alone."""


def weights_at(places: Sequence[Point], point: Point) -> list[tuple[float, int]]:
    """Weights and indices of the one or two recordings that play at a point, greater weight first.

    The weights add to 1. They are inverse distances that reach zero at the third nearest place
    (Franke and Little's weights, as in modified Shepard interpolation), so the sound does not jump
    where the second and the third nearest change places.
    """
    order = sorted(range(len(places)), key=lambda i: math.dist(places[i], point))
    distances = [math.dist(places[i], point) for i in order[:3]]
    if len(order) == 1 or distances[0] < 1e-9:
        return [(1.0, order[0])]
    reach = (distances[2] if len(order) > 2 else math.inf) * (1 + 1e-6)
    first, second = (
        ((1 / d) - (1 / reach if reach < math.inf else 0.0)) ** 2 for d in distances[:2]
    )
    share = (second / (first + second) - PLATEAU) / (1 - 2 * PLATEAU)
    return [(1 - share, order[0]), (share, order[1])] if share > 0 else [(1.0, order[0])]
