"""Movement: how far and how the pitch of the wet sound swings, against its closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import hilbert
from test_latefield import RATE_HZ, Floats, Pedal, levels_db, noise, octave

from dsp.latefield import Decay, Seam, late_room

WIRE = np.ones((2, 1), np.float32)
"""An IR that passes the sound."""
TAPS = int(1.3 * RATE_HZ)
"""Enough for a seam at 1 s."""
LIMIT_S = 0.003
"""dsp/movement.h: no delay moves further to each side."""


def bend(amount: float, hz: float) -> float:
    """The largest change of a pitch, as a ratio less 1: 12 cents at the most, 1.5 at 30 %."""
    cents = 12 * amount ** (math.log(1.5 / 12) / math.log(0.3))
    return min(2 ** (cents / 1200) - 1, 2 * math.pi * hz * LIMIT_S)


def sine(seconds: float, hz: float) -> Floats:
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)
    return np.repeat(wave[None], 2, axis=0).astype(np.float32)


def pitch(sound: Floats, hz: float) -> NDArray[np.float64]:
    """The pitch over `hz` less 1, in the mean of 10 ms each; without 0.1 s at both ends."""
    window = np.hanning(sound.shape[-1])
    phase = np.unwrap(np.angle(hilbert(sound.astype(np.float64) * window)))[4800:-4800]
    return np.asarray((phase[480:] - phase[:-480]) / 480 * RATE_HZ / (2 * np.pi * hz) - 1)


@pytest.mark.parametrize(
    ("amount", "hz"), [(0.3, 0.3), (0.3, 2.0), (1.0, 1.0), (1.0, 0.3), (0.1, 2.0), (1.0, 5.0)]
)
def test_the_pitch_of_a_convolved_sound_swings_as_far_as_it_says(amount: float, hz: float) -> None:
    """Within 2 %, up and down, on both sides; which are not in step. The mean of 10 ms takes 0.4 %
    of a swing of 5 Hz."""
    pedal = Pedal(64)
    pedal.set(movement=amount, movement_hz=hz)
    pedal.port.load_ir(WIRE)
    pedal.play(sine(3, 1000))
    sides = [pitch(side, 1000) for side in pedal.play(sine(max(3.0, 1.4 / hz), 1000))]
    for side in sides:
        assert side.max() == pytest.approx(bend(amount, hz), rel=0.02)
        assert side.min() == pytest.approx(-bend(amount, hz), rel=0.02)
    assert abs(sides[0] - sides[1]).max() > 0.7 * bend(amount, hz)


@pytest.mark.parametrize("amount", [0.6, 1.0])
def test_lines_of_the_late_field_swing_too(amount: float) -> None:
    """A steady sine through lines that keep nothing: each gives it once. The sides swing, and four
    of 16 lines: together they spread it by the root mean square of their swings, within 15 %."""
    seam, hz = Seam.of(RATE_HZ, TAPS), 6000.0
    decay = Decay(np.array([20.0, 20e3]), np.full(2, 2000.0), np.full(2, -20.0))
    pedal = Pedal(64, TAPS)
    pedal.set(movement=amount, movement_hz=5)
    pedal.port.load_ir(np.zeros((2, 64), np.float32), late=late_room(decay, seam))
    pedal.rest(0.2)
    pedal.play(sine(3, hz))
    spread_hz = []
    for side in pedal.play(sine(8, hz)):
        wave = hilbert(side.astype(np.float64)) * np.exp(
            -2j * np.pi * hz * np.arange(len(side)) / RATE_HZ
        )
        wave = wave[4800:-4800]
        spread = math.sqrt((abs(np.diff(wave)) ** 2).mean() / (abs(wave) ** 2).mean())
        spread_hz.append(spread * RATE_HZ / (2 * math.pi))
    swings = 1 + 4 / 16
    wanted_hz = hz * bend(amount, 5) * math.sqrt(swings / 2)
    assert math.hypot(*spread_hz) / math.sqrt(2) == pytest.approx(wanted_hz, rel=0.15)


def test_off_changes_no_sample() -> None:
    """Nor does the rate of what is off; and what was on changes none when it has faded."""
    sound, ir = noise(8), noise(0.1)
    outs = []
    for was_on in (False, True):
        pedal = Pedal()
        pedal.port.load_ir(ir)
        pedal.set(movement=float(was_on), movement_hz=5 if was_on else 0.3)
        outs.append([pedal.play(sound[:, :RATE_HZ])])
        pedal.set(movement_hz=0.05)
        outs[-1].append(pedal.play(sound[:, RATE_HZ:]))
    plain, moved = outs
    assert abs(moved[0] - plain[0]).max() > 0.01
    np.testing.assert_array_equal(moved[1][:, RATE_HZ:], plain[1][:, RATE_HZ:])


def test_no_change_bends_the_pitch_beyond_the_glide() -> None:
    """12 cents, two of the glide for each of the two swings of a side, and what 3 frames are in a
    fade of 20 ms: 5.4 cents; within 0.5 cents."""
    rng = np.random.default_rng(4)
    pedal = Pedal(64)
    pedal.port.load_ir(WIRE)
    sound, parts, step = sine(20, 1000), [], 64 * 188
    for at in range(0, sound.shape[1] - step, step):
        amount = rng.choice([0.0, 0.3, 1.0], p=[0.2, 0.3, 0.5])
        pedal.set(movement=amount, movement_hz=float(rng.choice([0.05, 0.5, 5])))
        parts.append(pedal.play(sound[:, at : at + step]))
    for side in np.concatenate(parts, axis=1):
        cents = 1200 * np.log2(1 + pitch(side, 1000))
        assert abs(cents).max() < 12 + 2 * 2 + 5.4 + 0.5


def test_what_is_held_moves_and_loses_nothing() -> None:
    """10 minutes at the largest movement: each octave stays within 0.5 dB and its scatter."""
    decay = Decay(np.array([20.0, 20e3]), np.full(2, 30.0))
    pedal = Pedal(block=1024)
    pedal.port.load_ir(noise(1.0, 0.01), late=late_room(decay, Seam.of(RATE_HZ, TAPS)))
    pedal.rest(0.2)
    pedal.play(noise(1.0))
    pedal.set(hold=1, movement=1, movement_hz=1)
    pedal.rest(5)
    start = pedal.rest(8)
    pedal.rest(584)
    end = pedal.rest(8)
    for hz in (250, 500, 1000, 2000, 4000, 8000):
        levels = [levels_db(octave(part[0], hz), 8)[0] for part in (start, end)]
        scatter_db = 4.34 / math.sqrt(hz * 0.7 * 8)
        assert abs(levels[1] - levels[0]) < 0.5 + 3 * scatter_db, hz
