"""Shimmer: the interval, the level and the stability of what rises, measured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt
from test_latefield import RATE_HZ, Pedal, levels_db, noise, octave
from test_movement import TAPS, WIRE, sine

from dsp.latefield import Decay, Seam, late_room

HZ = np.array([20.0, 20e3])
SEAM = Seam.of(RATE_HZ, TAPS)
SHORT = late_room(Decay(HZ, np.full(2, 40.0)), SEAM)
"""A room that fits, of T60 1.5 s."""
SEMITONES = (12, 7, 5, -12)


@pytest.mark.parametrize(("number", "semitones"), list(enumerate(SEMITONES)))
def test_a_tone_rises_by_the_interval(number: int, semitones: int) -> None:
    """The loudest of what shimmer adds to a tone is at the interval, within the width of a grain's
    spectrum; so is its mean, within 1 % (17 cents)."""
    tone_hz = 600.0
    pedal = Pedal(256, TAPS)
    pedal.port.load_ir(WIRE, late=SHORT)
    pedal.set(shimmer=0.2, shimmer_interval=number)
    sound = sine(4, tone_hz)
    added = (pedal.play(sound) - sound)[0][RATE_HZ // 2 :]
    power = abs(np.fft.rfft(added * np.hanning(len(added)))) ** 2
    hz = np.fft.rfftfreq(len(added), 1 / RATE_HZ)
    wanted_hz = tone_hz * 2 ** (semitones / 12)
    assert hz[power.argmax()] == pytest.approx(wanted_hz, abs=12)
    near = abs(hz - wanted_hz) < 40
    assert (hz * power)[near].sum() / power[near].sum() == pytest.approx(wanted_hz, rel=0.01)
    assert power[near].sum() > 0.8 * power.sum()


def test_shimmer_is_heard_in_a_room_that_fits() -> None:
    """All of it is nearly as loud as the room, half of it softer by 2 dB."""
    fall = np.exp(-4.6 * np.arange(int(0.6 * RATE_HZ)) / RATE_HZ)
    ir = (noise(0.6, 0.05) * fall).astype(np.float32)
    levels = {}
    for amount in (0.0, 0.5, 1.0):
        pedal = Pedal(256, TAPS)
        pedal.port.load_ir(ir, late=SHORT)
        pedal.set(shimmer=amount)
        sound = noise(4.0)
        sos = butter(4, [250, 700], "bandpass", fs=RATE_HZ, output="sos")
        sound = np.asarray(sosfilt(sos, sound), np.float32)
        out = pedal.play(sound)[0][RATE_HZ:]
        high = sosfilt(butter(8, 1100, "highpass", fs=RATE_HZ, output="sos"), out)
        levels[amount] = levels_db(high, 2)[0] - levels_db(out, 2)[0]
    assert levels[0.0] < -25
    assert levels[1.0] == pytest.approx(-6, abs=2)
    assert levels[0.5] == pytest.approx(-8, abs=2)


def test_off_changes_no_sample() -> None:
    """Nor does the interval of what is off; and what was on changes none when it has rung out."""
    sound, ir = noise(16), noise(0.1)
    outs = []
    for was_on in (False, True):
        pedal = Pedal(1024, TAPS)
        pedal.port.load_ir(ir, late=late_room(Decay(HZ, np.full(2, 400.0)), SEAM))
        pedal.set(shimmer=float(was_on), shimmer_interval=3.0 * was_on)
        outs.append([pedal.play(sound[:, :RATE_HZ])])
        pedal.set(shimmer_interval=1)
        outs[-1].append(pedal.play(sound[:, RATE_HZ:]))
    plain, shimmered = outs
    assert abs(shimmered[0] - plain[0]).max() > 0.01
    np.testing.assert_array_equal(shimmered[1][:, -RATE_HZ:], plain[1][:, -RATE_HZ:])


@pytest.mark.parametrize("interval", range(len(SEMITONES)))
@pytest.mark.parametrize("amount", [0.2, 0.6, 1.0])
def test_a_room_that_never_ends_gets_no_louder(interval: int, amount: float) -> None:
    """The lines lose nothing, all moves: no second is louder than the first one by more than its
    scatter, 1 dB."""
    decay = Decay(HZ, np.full(2, 3.0), np.full(2, -40.0), lasting=True)
    pedal = Pedal(1024, TAPS)
    pedal.port.load_ir(np.zeros((2, 64), np.float32), late=late_room(decay, SEAM))
    pedal.set(shimmer=amount, shimmer_interval=interval, movement=1, movement_hz=3)
    pedal.rest(0.2)
    pedal.play(noise(1.0))
    pedal.rest(1.6)
    level = levels_db(pedal.rest(30)[0], 1.0)
    assert level.max() < level[:3].max() + 1
    assert level[0] > -80


def test_what_is_held_keeps_its_shimmer_and_its_level() -> None:
    """Within 1 dB in each octave, which is their scatter: nothing more rises."""
    pedal = Pedal(1024, TAPS)
    pedal.port.load_ir(noise(1.0, 0.01), late=SHORT)
    pedal.set(shimmer=1)
    pedal.rest(0.2)
    pedal.play(noise(2.0))
    pedal.set(shimmer=1, hold=1)
    pedal.rest(2)
    start = pedal.rest(8)
    pedal.rest(40)
    end = pedal.rest(8)
    for hz in (250, 1000, 4000):
        levels = [levels_db(octave(part[0], hz), 8)[0] for part in (start, end)]
        assert abs(levels[1] - levels[0]) < 1, hz


def test_changes_do_not_click() -> None:
    """A low tone; what rises ends below 9 kHz (and the filters' slope): above 15 kHz there is
    nothing but clicks, if any."""
    rng = np.random.default_rng(5)
    pedal = Pedal(64, TAPS)
    pedal.port.load_ir(WIRE, late=SHORT)
    sound, parts, step = sine(20, 110), [], 64 * 150
    for at in range(0, sound.shape[1] - step, step):
        pedal.set(
            shimmer=float(rng.choice([0, 0.3, 1])),
            shimmer_interval=float(rng.integers(4)),
            movement=float(rng.choice([0, 1])),
            movement_hz=float(rng.choice([0.05, 5])),
        )
        parts.append(pedal.play(sound[:, at : at + step]))
    out = np.concatenate(parts, axis=1)
    assert abs(out).max() < 4
    high = sosfilt(butter(8, 15_000, "highpass", fs=RATE_HZ, output="sos"), out)
    assert abs(high[:, 4800:]).max() < 1e-3
