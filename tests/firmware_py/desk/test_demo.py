"""The demo's phrase and picture. `make test-clean` runs the demo itself."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from device.controls import defaults
from firmware_py.desk.demo import MIX_PERCENT, TrackPoint, draw
from firmware_py.desk.phrase import NOTES, PERIOD_S, phrase, string
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import find_source

RATE_HZ = 48000


def level_db(sound: np.ndarray, start_s: float, end_s: float) -> float:
    part = sound[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)].astype(float)
    return float(10 * np.log10((part**2).mean() + 1e-30))


@pytest.mark.parametrize("hz", [82.41, 329.63, 660.0])
@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_a_string_is_in_tune(hz: float, rate_hz: int) -> None:
    """Within 3 cents: fewer than an ear notices. The spectrum's bins are finer."""
    sound = string(np.random.default_rng(1), rate_hz, hz, 2.0)[rate_hz // 10 :]
    bins = 2**21
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), bins))
    at = np.fft.rfftfreq(bins, 1 / rate_hz)
    near = (at > hz * 2**-0.1) & (at < hz * 2**0.1)
    assert abs(1200 * np.log2(at[near][spectrum[near].argmax()] / hz)) < 3


def test_after_the_last_chord_nothing_but_the_room_sounds() -> None:
    """The default room at the demo's mix, a second after the chord: 30 dB or less under it."""
    dry = phrase(RATE_HZ, PERIOD_S)[:, 0]
    start_s, length_s = NOTES[-1][:2]
    assert level_db(dry, start_s + length_s + 0.1, PERIOD_S) < -200
    room = RoomMaker(find_source(), RATE_HZ, 4 * RATE_HZ).ir(defaults() | {"x": 6.0})[0]
    share = MIX_PERCENT / 100
    wet = (1 - share) * dry + share * fftconvolve(dry, room)[: len(dry)]
    chord_db = level_db(wet, start_s, start_s + length_s)
    assert level_db(wet, start_s + length_s + 0.1, start_s + length_s + 0.6) > chord_db - 30


def test_the_phrase_is_the_same_each_time_and_repeats() -> None:
    twice = phrase(RATE_HZ, 2 * PERIOD_S)
    half = len(twice) // 2
    assert np.array_equal(twice[:half], twice[half:])
    assert np.array_equal(twice[:half], phrase(RATE_HZ, PERIOD_S))
    assert np.abs(twice).max() == pytest.approx(0.5)


def test_no_legend_of_the_picture_covers_a_curve() -> None:
    sound = phrase(RATE_HZ, PERIOD_S)
    track = [TrackPoint(at, defaults(), {}) for at in (0.0, 6.0)]  # type: ignore[typeddict-item]
    figure = draw(sound, sound, RATE_HZ, track)
    figure.canvas.draw()
    legends = [axis.get_legend() for axis in figure.axes if axis.get_legend()]
    assert len(legends) == 2
    for legend in legends:
        box = legend.get_window_extent()
        assert box.x1 <= figure.bbox.x1 and box.y0 >= 0
        assert not any(axis.get_window_extent().overlaps(box) for axis in figure.axes)
