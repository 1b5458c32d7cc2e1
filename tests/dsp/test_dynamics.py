"""Duck, gate, tone, level and kill_dry in the pyo graph, driven offline: each compared with its
closed form or SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import freqz, lfilter
from test_engine import IMPULSE, RATE_HZ, Floats, error_db, noise, play, set_params, sine

from dsp.graph import OfflineGraph

WIRE = IMPULSE.repeat(2, 0)
"""An IR that passes the sound: the wet signal is the input."""
BLOCK = 64
FALL_DB_PER_S = 500.0
"""dsp/key.h: so fast the level of the input falls after a sound."""


def square(level_db: float, loud_frames: int, soft_db: float, frames: int) -> Floats:
    """A square wave (750 Hz), so that each sample tells the gain; softer from `loud_frames` on."""
    wave = np.where(np.arange(frames) // 32 % 2, -1.0, 1.0)
    wave *= np.where(np.arange(frames) < loud_frames, 10 ** (level_db / 20), 10 ** (soft_db / 20))
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


def gains_db(out: Floats, sound: Floats) -> NDArray[np.float64]:
    """The gain of each frame, dB."""
    return 20 * np.log10(np.abs(out[:, 0]) / np.abs(sound[:, 0]) + 1e-12)


@pytest.mark.parametrize(
    ("level_db", "share"), [(-60, 0.0), (-45, 0.0), (-40, 0.25), (-35, 0.5), (-25, 1.0), (-3, 1.0)]
)
@pytest.mark.parametrize("depth_db", [6.0, 24.0])
def test_duck_depth_follows_the_input(level_db: float, share: float, depth_db: float) -> None:
    """Within 0.3 dB: the level of the key falls by that between two peaks, and no more."""
    sound = square(level_db, 24000, level_db, 24000 // BLOCK * BLOCK)
    out = play(sound, WIRE, duck_db=depth_db)
    assert gains_db(out, sound)[-4800:] == pytest.approx(-depth_db * share, abs=0.3)


@pytest.mark.parametrize("release_ms", [50.0, 300.0, 1000.0])
def test_duck_release_is_exponential_in_db(release_ms: float) -> None:
    """After the end of the note the reduction falls by 1/e in each `duck_release_ms`."""
    loud = 24000
    frames = loud + int((0.11 + 2.1 * release_ms / 1000) * RATE_HZ)
    sound = square(-10, loud, -60, frames // BLOCK * BLOCK)
    reduction = -gains_db(play(sound, WIRE, duck_db=20.0, duck_release_ms=release_ms), sound)
    at = loud + int(0.1 * RATE_HZ)  # the key is at -45 dB after 70 ms: 35 dB at 0.5 dB/ms
    later = at + int(2 * release_ms / 1000 * RATE_HZ)
    assert later < len(sound)
    assert reduction[at] / reduction[later] == pytest.approx(math.exp(2), rel=0.02)
    assert reduction[loud + 200] == pytest.approx(20, abs=0.1)  # nothing falls before the key does


def test_duck_is_down_within_three_attacks() -> None:
    """By 95 % after 3 x (10 + 5) ms, as of two low-passes; the dry sound does not change."""
    sound = square(-10, 9600, -10, 9600)
    out = play(np.concatenate([np.zeros((9600, 2), np.float32), sound]), WIRE, duck_db=20.0)
    found = gains_db(out[9600:], sound)
    assert found[int(0.045 * RATE_HZ)] < -0.9 * 20
    assert found[20] > -0.5
    dry = play(sound, WIRE, duck_db=20.0, mix=0)
    assert error_db(dry, sound) < -110


@pytest.mark.parametrize("hold_ms", [0.0, 100.0, 500.0])
@pytest.mark.parametrize(("threshold_db", "level_db"), [(-40.0, -20.0), (-20.0, -14.0)])
def test_gate_holds_and_closes(threshold_db: float, level_db: float, hold_ms: float) -> None:
    """It is open until the key has fallen to 6 dB below the threshold and the hold is over, then
    its gain falls by 1/e in each release: 8.69 dB."""
    loud, release_ms = 12000, 50.0
    frames = loud + int((0.35 + hold_ms / 1000) * RATE_HZ)
    frames -= frames % BLOCK
    sound = square(level_db, loud, -70, frames)
    found = gains_db(
        play(
            sound,
            WIRE,
            gate_on=1.0,
            gate_db=threshold_db,
            gate_hold_ms=hold_ms,
            gate_release_ms=release_ms,
        ),
        sound,
    )
    falls_s = (level_db - threshold_db + 6) / FALL_DB_PER_S
    closes = loud + int((falls_s + hold_ms / 1000) * RATE_HZ)
    assert found[closes - 64] == pytest.approx(0, abs=0.01)  # within a step of 16 frames and two
    assert found[closes + 480] < -0.5
    late = closes + int(0.1 * RATE_HZ)
    fall_db = found[late] - found[late + int(release_ms / 1000 * RATE_HZ)]
    assert fall_db == pytest.approx(20 * math.log10(math.e), abs=0.1)


def test_gate_keeps_out_what_is_softer_than_its_threshold() -> None:
    sound = square(-41, 24000, -39.5, 48000)
    params = {"gate_on": 1.0, "gate_db": -40.0, "gate_hold_ms": 0.0, "gate_release_ms": 5.0}
    out = play(sound, WIRE, **params)
    assert not out[12000:24000].any()
    opened = gains_db(out, sound)[24000:]
    assert opened[256] > -0.5  # 5 ms and a step of 16 frames: 5 % is 0.45 dB
    assert np.abs(opened[960:]).max() < 1e-4


def test_gate_that_is_switched_off_opens() -> None:
    sound = square(-60, 0, -60, 19200)

    def switch(graph: OfflineGraph, index: int) -> None:
        if index == 150:
            set_params(graph, gate_on=0.0)

    out = play(sound, WIRE, before=switch, gate_on=1.0, gate_db=-20.0, gate_release_ms=5.0)
    assert not out[9000:9600].any()
    np.testing.assert_array_equal(out[12000:], play(sound, WIRE)[12000:])


def shelf(high: bool, gain_db: float) -> tuple[list[float], list[float]]:
    """Bristow-Johnson's cookbook, slope 1, as it is printed there; a second implementation."""
    w = 2 * np.pi * (3000 if high else 250) / RATE_HZ
    a, c = 10 ** (gain_db / 40), np.cos(w)
    alpha = np.sin(w) / 2 * np.sqrt(2)
    root = 2 * np.sqrt(a) * alpha
    s = -1 if high else 1
    b = [
        a * ((a + 1) - s * (a - 1) * c + root),
        s * 2 * a * ((a - 1) - s * (a + 1) * c),
        a * ((a + 1) - s * (a - 1) * c - root),
    ]
    den = [
        (a + 1) + s * (a - 1) * c + root,
        s * -2 * ((a - 1) + s * (a + 1) * c),
        (a + 1) + s * (a - 1) * c - root,
    ]
    return [float(v / den[0]) for v in b], [float(v / den[0]) for v in den]


@pytest.mark.parametrize("gain_db", [-12.0, -3.0, 12.0])
@pytest.mark.parametrize("name", ["tone_low", "tone_high"])
def test_tone_is_a_shelf_of_the_wet_sound(name: str, gain_db: float) -> None:
    """Equal to the cookbook's filter, sample by sample; by SciPy its response is the gain at one
    end, half of it at the corner, and 0 dB at the other end."""
    high = name == "tone_high"
    sound = noise(19200)
    out = play(sound, WIRE, **{f"{name}_db": gain_db})
    b, a = shelf(high, gain_db)
    assert error_db(out, lfilter(b, a, sound.astype(float), axis=0)) < -110
    hz = [1.0, 3000.0 if high else 250.0, 23900.0]
    response = 20 * np.log10(np.abs(freqz(b, a, worN=hz, fs=RATE_HZ)[1]))
    ends = [0.0, gain_db / 2, gain_db]
    assert response == pytest.approx(ends if high else ends[::-1], abs=0.01)
    assert error_db(play(sound, WIRE, mix=0, **{f"{name}_db": gain_db}), sound) < -110


@pytest.mark.parametrize("level_db", [-40.0, -6.0, 12.0])
@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
def test_level_is_a_gain_of_the_output(level_db: float, mix: float) -> None:
    sound, ir = noise(4096), noise(500, 2, seed=2).T.copy()
    expected = 10 ** (level_db / 20) * play(sound, ir, mix=mix).astype(float)
    assert error_db(play(sound, ir, mix=mix, level_db=level_db), expected) < -110


def test_level_does_not_change_the_bypassed_sound() -> None:
    sound = noise(4096)
    np.testing.assert_array_equal(
        play(sound, WIRE, bypass=1, level_db=-20.0), play(sound, WIRE, bypass=1)
    )


@pytest.mark.parametrize("bypass", [0.0, 1.0])
def test_kill_dry_leaves_the_wet_sound_alone(bypass: float) -> None:
    """In bypass it is silent: the amplifier in whose loop the pedal is has the dry sound."""
    sound, ir = noise(4096), noise(500, 2, seed=2).T.copy()
    out = play(sound, ir, mix=0.4, mix_law=2, kill_dry=1.0, bypass=bypass)
    if bypass:
        assert not out.any()
    else:
        assert error_db(out, 0.4 * play(sound, ir).astype(float)) < -110


OFF = {"duck_release_ms": 50.0, "gate_db": -10.0, "gate_hold_ms": 0.0, "gate_release_ms": 5.0}


def test_what_was_on_and_is_off_changes_no_sample() -> None:
    """After the ramps and the release, each sample is that of an engine where all was always off;
    nor do the times and thresholds of what is off change any."""
    sound = np.concatenate([noise(9600), sine(19200)])

    def switch(graph: OfflineGraph, index: int) -> None:
        if index == 100:
            set_params(graph, **OFF)

    on = {"duck_db": 24.0, "gate_on": 1.0, "tone_low_db": 12.0, "tone_high_db": -12.0}
    plain = play(sound, WIRE)
    out = play(sound, WIRE, before=switch, **(OFF | on | {"level_db": -9.0, "kill_dry": 1.0}))
    assert np.abs(out[:6000] - plain[:6000]).max() > 1e-3
    np.testing.assert_array_equal(out[19200:], plain[19200:])
    np.testing.assert_array_equal(play(sound, WIRE, **OFF), plain)
