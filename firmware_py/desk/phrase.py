"""A guitar phrase of plucked strings, made here: what `nverb demo` and the benches play.

Each note is a Karplus-Strong string: a burst of noise runs round a delay of one period and loses
its treble first. The notes are damped as a hand does it, and a pause follows in which nothing but
the room sounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PERIOD_S = 6.0
"""The phrase repeats after this time."""
PEAK = 0.5
EIGHTH_S = 0.24
DAMPED_S = 0.02
"""A hand stops a string within this time."""
SUSTAIN_S = 4.0
"""T60 of a string that nobody stops."""
PICK_AT = 0.13
"""Where the pick touches the string, as a share of its length: a comb in the spectrum."""
E2, A2, B2, E3, G3, B3, D4, E4 = 82.41, 110.0, 123.47, 164.81, 196.0, 246.94, 293.66, 329.63
NOTES = (
    *((n * EIGHTH_S, 0.9, hz, 0.8) for n, hz in enumerate((E2, E3, G3, B3, E4, B3, G3))),
    *((7.5 * EIGHTH_S + 0.012 * n, 0.16, hz, 0.8) for n, hz in enumerate((A2, E3, G3, D4))),
    *((10 * EIGHTH_S + 0.012 * n, 0.30, hz, 1.0) for n, hz in enumerate((E2, B2, E3, G3, B3, E4))),
)
"""Start and length in s, frequency in Hz, level: an arpeggio, two chords, a pause of 3 s."""


def phrase(rate_hz: int, seconds: float) -> Floats:
    """The phrase, repeated: float32 (frames, 2), both sides equal. The same at each call."""
    random = np.random.default_rng(1)
    once = np.zeros(int(PERIOD_S * rate_hz), np.float32)
    for start_s, length_s, frequency_hz, level in NOTES:
        note = level * string(random, rate_hz, frequency_hz, length_s)
        at = int(start_s * rate_hz)
        once[at : at + len(note)] += note
    once *= PEAK / np.abs(once).max()
    mono = np.resize(once, int(seconds * rate_hz))
    return np.repeat(mono[:, None], 2, axis=1)


def string(
    random: np.random.Generator, rate_hz: int, frequency_hz: float, length_s: float
) -> Floats:
    """A plucked string that is stopped after `length_s`: float32 (frames,)."""
    period = rate_hz / frequency_hz
    delay = int(period - 0.5)
    part = period - 0.5 - delay  # of a sample; the mean of two neighbours is half a sample late
    loss = 10 ** (-3 / (SUSTAIN_S * frequency_hz))
    taps = loss * np.array([0.5 * (1 - part), 0.5, 0.5 * part])
    sound = np.zeros(int(length_s * rate_hz) + delay + 2)
    burst = random.uniform(-1, 1, delay + 2)
    burst -= np.roll(burst, int(PICK_AT * delay))
    burst = np.convolve(burst, np.hanning(9) / np.hanning(9).sum(), "same")  # a pick is no needle
    sound[: delay + 2] = burst - burst.mean()
    # A period depends on the one before only, so it is made at once.
    for at in range(delay + 2, len(sound), delay):
        end = min(at + delay, len(sound))
        back = [sound[at - delay - n : end - delay - n] for n in range(3)]
        sound[at:end] = taps[0] * back[0] + taps[1] * back[1] + taps[2] * back[2]
    damped = int(DAMPED_S * rate_hz)
    sound[-damped:] *= np.linspace(1, 0, damped)
    return sound.astype(np.float32)
