"""`nverb bench change`: a room that is swept at 50 changes a second, against the exact sum.

Each input in its own room: y is the sum of h_i * (x w_i) in float64, where w_i is the weight of
room i. The kernel is compared with it under pink noise, plucks and a sine.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypedDict

from firmware_py.jack.defaults import RATE_HZ

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

BLOCK, FADE_FRAMES, TAPS = 64, 720, 72_000
SECONDS, CHANGES_A_SECOND, SWEEP_S = 10, 50, 4
SINE_HZ, BAND_HZ = 1000, 200
WINDOW_S = 0.05
FLOOR_DB = -60.0
"""Windows below this, of the loudest one, do not count."""


class Sweep(TypedDict):
    """Levels in dB of windows of 50 ms, over those of the exact sum."""

    sound: str
    changes: int
    """Rooms that the kernel accepted."""
    step_db: float
    """The largest step of the difference from one window to the next ..."""
    step_level_db: float
    """... and the level there, over that of the loudest window."""
    off_db: float
    """The largest difference."""
    residual: float
    """Outside of the band of the sine; 0 for other sounds."""


def measure() -> list[Sweep]:
    import numpy as np

    rng = np.random.default_rng(1)
    carrier = rng.standard_normal((2, TAPS))
    frames = SECONDS * RATE_HZ // BLOCK * BLOCK
    sounds = {"pink noise": _pink(rng, frames), "plucks": _plucks(frames), "sine": _sine(frames)}
    return [_sweep(name, sound, carrier) for name, sound in sounds.items()]


def table(rows: list[Sweep]) -> str:
    lines = [
        f"A sweep of T30 from 0.3 to 1.5 s and back in {SWEEP_S} s, {CHANGES_A_SECOND} changes a "
        "second: levels in windows of 50 ms over the exact sum",
        f"{'sound':16}{'rooms':>6}{'largest step':>15}{'at':>9}{'off':>12}{'residual':>12}",
    ]
    for row in rows:
        residual = f"{row['residual']:12.1e}" if row["residual"] else ""
        lines.append(
            f"{row['sound']:16}{row['changes']:6}{row['step_db']:12.2f} dB"
            f"{row['step_level_db']:6.0f} dB{row['off_db']:9.2f} dB{residual}"
        )
    return "\n".join(lines)


def _sweep(name: str, sound: Floats, carrier: Doubles) -> Sweep:
    import numpy as np

    out, changes, rooms = _play(sound, carrier)
    expected = _exact(sound, changes, rooms)
    level, exact = _levels(out), _levels(expected)
    off, over = level - exact, exact - exact.max()
    counts = over > FLOOR_DB
    steps = np.where(counts[1:] & counts[:-1], np.abs(np.diff(off)), 0)
    largest = int(steps.argmax())
    return {
        "sound": name,
        "changes": len(changes),
        "step_db": float(steps[largest]),
        "step_level_db": float(over[largest : largest + 2].min()),
        "off_db": float(np.abs(off[counts]).max()),
        "residual": _residual(out[0]) if name == "sine" else 0.0,
    }


def _play(sound: Floats, carrier: Doubles) -> tuple[Floats, list[int], list[Floats]]:
    """The kernel's output; when it took rooms, and which: one that is refused is left out."""
    import numpy as np

    from dsp import _engine

    kernel = _engine.Kernel(_engine.plan(BLOCK, TAPS, 2), FADE_FRAMES)
    out, block = np.zeros_like(sound), np.zeros((2, BLOCK), np.float32)
    changes: list[int] = []
    rooms: list[Floats] = []
    for at in range(0, sound.shape[1], BLOCK):
        if at % (RATE_HZ // CHANGES_A_SECOND) < BLOCK:
            room = _room(carrier, 0.5 - 0.5 * float(np.cos(2 * np.pi * at / RATE_HZ / SWEEP_S)))
            with suppress(ValueError):
                kernel.load(room)
                changes.append(at)
                rooms.append(room)
        kernel.process(np.ascontiguousarray(sound[:, at : at + BLOCK]), block)
        out[:, at : at + BLOCK] = block
    return out, changes, rooms


def _exact(sound: Floats, changes: list[int], rooms: list[Floats]) -> Doubles:
    """The sum of each room's convolution with its share of the input."""
    import numpy as np

    frames = sound.shape[1]
    ends = np.arange(0, FADE_FRAMES + 32, 16)
    gain = np.where(ends >= FADE_FRAMES, 1, 0.5 - 0.5 * np.cos(np.pi * ends / FADE_FRAMES))
    out = np.zeros((2, frames))
    for at, end, room in zip(changes, [*changes[1:], frames], rooms, strict=True):
        now = np.arange(at, min(end + FADE_FRAMES + 16, frames))
        weight = np.interp(now - at, ends, gain)
        if end < frames:
            weight = weight - np.interp(now - end, ends, gain, left=0)
        size = 1 << (len(now) + TAPS).bit_length()
        spectrum = np.fft.rfft(sound[:, now] * weight, size) * np.fft.rfft(room.astype(float), size)
        until = min(frames, at + len(now) + TAPS)
        out[:, at:until] += np.fft.irfft(spectrum, size)[:, : until - at]
    return out


def _room(carrier: Doubles, x: float) -> Floats:
    """Decaying noise, equally loud for each T30."""
    import numpy as np

    t30_s = 0.3 * 5**x
    decay = 10 ** (-3 * np.arange(TAPS) / RATE_HZ / t30_s)
    return np.asarray(carrier * decay / np.sqrt((decay**2).sum()), np.float32)


def _pink(rng: np.random.Generator, frames: int) -> Floats:
    import numpy as np

    spectrum = np.fft.rfft(rng.standard_normal((2, frames)))
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.shape[1]), 20))
    noise = np.fft.irfft(spectrum, frames)
    return np.asarray(0.1 * noise / noise.std(), np.float32)


def _plucks(frames: int) -> Floats:
    """Two a second, each -60 dB after 0.4 s."""
    import numpy as np

    out = np.zeros((2, frames), np.float32)
    for at in range(0, frames, RATE_HZ // 2):
        t = np.arange(min(frames - at, RATE_HZ)) / RATE_HZ
        tone = np.exp(-6.9 * t / 0.4) * (1 - np.exp(-t / 0.002)) * np.sin(2 * np.pi * 196 * t)
        out[:, at : at + len(t)] += (0.3 * tone).astype(np.float32)
    return out


def _sine(frames: int) -> Floats:
    import numpy as np

    tone = 0.3 * np.sin(2 * np.pi * SINE_HZ * np.arange(frames) / RATE_HZ)
    return np.asarray(np.stack([tone, tone]), np.float32)


def _levels(sound: Floats | Doubles) -> Doubles:
    import numpy as np

    frames = int(WINDOW_S * RATE_HZ)
    windows = sound[:, : sound.shape[1] // frames * frames].reshape(2, -1, frames)
    return np.asarray(10 * np.log10(np.mean(windows.astype(float) ** 2, axis=(0, 2)) + 1e-20))


def _residual(sound: Floats) -> float:
    """The level outside of the sine's band, over all; after the first second."""
    import numpy as np

    part = sound[RATE_HZ:].astype(float)
    power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
    hz = np.fft.rfftfreq(len(part), 1 / RATE_HZ)
    return float(np.sqrt(power[np.abs(hz - SINE_HZ) > BAND_HZ].sum() / power.sum()))
