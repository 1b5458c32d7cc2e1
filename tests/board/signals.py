"""Test signals, and measurements of what the pedal makes of them. Uses NumPy and nothing of nverb.

The pilot tone is a sine of 997 Hz. Its period divides no block length, so a block that is lost,
repeated or silent breaks its phase. A sine of any amplitude and phase obeys
s[n+1] = 2 cos(w) s[n] - s[n-1]; a sample that does not is a break. Smooth changes of level, such as
a crossfade of 50 ms, stay a hundred times below the threshold.
"""

from __future__ import annotations

import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 48000
PILOT_HZ = 997
PILOT_AMPLITUDE = 0.25
Floats = NDArray[np.float64]


def pilot(seconds: float) -> Floats:
    """The pilot tone, (frames, 2)."""
    tone = PILOT_AMPLITUDE * np.sin(
        2 * np.pi * PILOT_HZ * np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    )
    return np.stack([tone, tone], axis=1)


@dataclass(frozen=True)
class Pilot:
    """Measurements of a pilot tone. Seconds count from the recording's first frame."""

    first_s: float
    last_s: float
    breaks_s: list[float]
    """Times of broken phase or silence; breaks closer than 50 ms count as one."""
    longest_silence_s: float
    amplitude: float


def listen(recording: Floats, *, threshold: float = 0.02, edge_s: float = 0.1) -> Pilot:
    """Measure the pilot tone in one channel.

    `threshold`: deviation that counts as a break, relative to the tone's amplitude.
    """
    window = round(0.01 * RATE_HZ)
    level = np.sqrt(np.convolve(recording**2, np.ones(window) / window, mode="same") * 2)
    loud = np.flatnonzero(level > 0.1 * PILOT_AMPLITUDE * 0.1)
    if not len(loud):
        return Pilot(0.0, 0.0, [], len(recording) / RATE_HZ, 0.0)
    edge = round(edge_s * RATE_HZ)
    first, last = loud[0] + edge, loud[-1] - edge
    inner = recording[first:last]
    amplitude = float(np.median(level[first:last]))
    w = 2 * np.pi * PILOT_HZ / RATE_HZ
    rest = np.abs(inner[2:] - 2 * np.cos(w) * inner[1:-1] + inner[:-2])
    broken = np.flatnonzero(
        (rest > threshold * amplitude) | (level[first + 1 : last - 1] < 0.02 * amplitude)
    )
    starts = broken[np.r_[True, np.diff(broken) > 0.05 * RATE_HZ]] if len(broken) else broken
    silent = level[first:last] < 0.02 * amplitude
    borders = np.flatnonzero(np.diff(np.r_[0, silent.astype(int), 0]))
    longest = max((end - begin for begin, end in borders.reshape(-1, 2)), default=0)
    return Pilot(
        first / RATE_HZ,
        last / RATE_HZ,
        [float(first + at) / RATE_HZ for at in starts],
        float(longest) / RATE_HZ,
        amplitude,
    )


def delay(sent: Floats, heard: Floats) -> int:
    """The lag of `heard` behind `sent` in frames: the peak of their cross-correlation."""
    size = 1 << int(np.ceil(np.log2(len(sent) + len(heard))))
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size)), size)
    at = int(np.argmax(np.abs(product)))
    return at - size if at > size // 2 else at


def difference_db(wanted: Floats, heard: Floats) -> float:
    """RMS of the difference relative to the RMS of `wanted`, in dB."""
    error = float(np.sqrt(np.mean((heard - wanted) ** 2)))
    return 20 * float(np.log10(max(error, 1e-12) / float(np.sqrt(np.mean(wanted**2)))))


def t30_s(impulse_response: Floats) -> float:
    """Reverberation time from the decay between -5 and -35 dB.

    ISO 3382: backward integration, a straight line, its slope extrapolated to 60 dB.
    """
    start = int(np.argmax(np.abs(impulse_response)))
    energy = impulse_response[start:] ** 2
    decay_db = 10 * np.log10(np.maximum(np.cumsum(energy[::-1])[::-1] / energy.sum(), 1e-12))
    part = np.flatnonzero((decay_db < -5) & (decay_db > -35))
    slope = np.polyfit(part / RATE_HZ, decay_db[part], 1)[0]
    return float(-60 / slope)


def wav(samples: Floats) -> bytes:
    """A float WAV file."""
    file = io.BytesIO()
    soundfile.write(file, samples.astype(np.float32), RATE_HZ, subtype="FLOAT", format="WAV")
    return file.getvalue()


def raw(data: bytes) -> Floats:
    """Recorded frames (arecord -t raw -f FLOAT_LE -c 2) as (frames, 2)."""
    whole = len(data) // 8 * 8
    return np.frombuffer(data[:whole], "<f4").reshape(-1, 2).astype(np.float64)


def clip(seconds: float = 6.0) -> Floats:
    """A clip of pyo's, resampled to RATE_HZ, with two different channels and a peak of 0.25."""
    import soxr

    # Find the package without importing it, because pyo looks for a window system.
    package = importlib.util.find_spec("pyo")
    assert package is not None and package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "lib" / "snds" / "transparent.aif"
    samples, rate_hz = soundfile.read(path, always_2d=True)
    mono: Any = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
    frames = round(seconds * RATE_HZ)
    mono = np.resize(mono, frames)
    stereo = np.stack([mono, np.roll(mono, 4800)], axis=1)
    return np.asarray(0.25 * stereo / np.abs(stereo).max())
