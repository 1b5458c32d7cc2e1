"""Loudness of rooms, measured after ITU-R BS.1770-4 with the filters printed there for 48 kHz."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve, freqz, lfilter

from device.controls import defaults
from dsp import loudness
from dsp.energymap import DEFAULT_GRID, EnergyMap
from dsp.graph import OfflineGraph
from dsp.synthesis import Synthesiser
from firmware_py.desk.phrase import phrase
from firmware_py.link.params import engine_params
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import find_source

RATE_HZ = 48_000
SHELF = ([1.53512485958697, -2.69169618940638, 1.19839281085285],
         [1, -1.69065929318241, 0.73248077421585])  # fmt: skip
HIGH_PASS = ([1, -2, 1], [1, -1.99004745483398, 0.99007225036621])


def lufs(sound: NDArray[np.float64]) -> float:
    """Integrated loudness of (channels, frames), with both gates."""
    weighted = lfilter(*HIGH_PASS, lfilter(*SHELF, sound, axis=1), axis=1)
    block, hop = int(0.4 * RATE_HZ), int(0.1 * RATE_HZ)
    total = np.concatenate([[0.0], np.cumsum((weighted**2).sum(axis=0))])
    power = (total[block:] - total[:-block])[::hop] / block
    level = -0.691 + 10 * np.log10(power + 1e-20)
    power, level = power[level > -70], level[level > -70]
    kept = power[level > -0.691 + 10 * np.log10(power.mean()) - 10]
    return float(-0.691 + 10 * np.log10(kept.mean()))


def in_room(ir: NDArray[np.float32], sound: NDArray[np.float64]) -> float:
    return lufs(np.stack([fftconvolve(sound, channel) for channel in ir.astype(float)]))


@pytest.fixture(scope="module")
def maker() -> RoomMaker:
    return RoomMaker(find_source(), RATE_HZ, 6 * RATE_HZ)


@pytest.fixture(scope="module")
def guitar() -> NDArray[np.float64]:
    return np.asarray(phrase(RATE_HZ, 6.0), float).mean(axis=1)


def test_k_weighting_is_that_of_bs_1770() -> None:
    """Within 0.1 dB of the printed filters, from 30 Hz to 15 kHz, but for a constant gain."""
    hz = np.geomspace(30, 15000, 60)
    printed = sum(20 * np.log10(np.abs(freqz(*f, hz, fs=RATE_HZ)[1])) for f in (SHELF, HIGH_PASS))
    difference = loudness.k_weighting_db(hz) - printed
    assert np.ptp(difference) < 0.2


def test_rooms_of_the_cube_are_equally_loud(maker: RoomMaker, guitar: NDArray[np.float64]) -> None:
    """A guitar phrase in the corners, the centre and 6 more rooms: 2 LU from end to end, 4 to 5 LU
    below the dry guitar."""
    points = [(x, y, z) for x in (0, 9) for y in (0, 9) for z in (0, 9)] + [(4.5, 4.5, 4.5)]
    points += list(np.random.default_rng(2).uniform(0, 9, (6, 3)))
    dry = lufs(np.stack([guitar, guitar]))
    levels = [
        in_room(maker.ir(defaults() | {"x": x, "y": y, "z": z}), guitar) - dry for x, y, z in points
    ]
    assert np.ptp(levels) < 2.0
    assert -5.2 < np.mean(levels) < -3.5


def test_small_steps_of_a_knob_keep_the_loudness(
    maker: RoomMaker, guitar: NDArray[np.float64]
) -> None:
    """Steps of 0.1 at both ends of y and in the middle of x and z: 0.2 LU."""
    for axis, begin in (("y", 0.0), ("y", 8.5), ("x", 4.0), ("z", 4.0)):
        levels = [
            in_room(maker.ir(defaults() | {axis: begin + 0.1 * step}), guitar) for step in range(5)
        ]
        assert np.abs(np.diff(levels)).max() < 0.2, axis


def test_map_and_samples_have_the_same_loudness() -> None:
    """Within 0.5 dB: a recording plays as loud as a room."""
    level = np.repeat(-60 * DEFAULT_GRID.frame_centre_s[None] / 1.2, DEFAULT_GRID.bands, axis=0)
    room = EnergyMap(level.astype(np.float32))
    ir = Synthesiser(RATE_HZ).unscaled(room)
    got = 10 * np.log10(loudness.of_samples(ir, RATE_HZ) / loudness.of_map(room, RATE_HZ))
    assert abs(got) < 0.5


def test_normalise_bounds_peak_and_rejects_silence() -> None:
    loud = loudness.normalise(np.eye(2, 100, dtype=np.float32) * 3, RATE_HZ)
    assert np.abs(loud).max() <= loudness.PEAK_BOUND + 1e-6
    with pytest.raises(ValueError, match="silent"):
        loudness.normalise(np.zeros((2, 10), np.float32), RATE_HZ)


def test_engaged_pedal_is_as_loud_as_bypass(maker: RoomMaker, guitar: NDArray[np.float64]) -> None:
    """At the defaults of all controls, within 1 LU, through the engine."""
    values = defaults()
    sound = np.repeat(guitar[:, None], 2, axis=1).astype(np.float32)
    ir = maker.ir(values)
    levels = []
    for bypass in (0.0, 1.0):
        graph = OfflineGraph(
            rate_hz=RATE_HZ, block_frames=128, max_taps=ir.shape[1], inputs=2, ir_channels=2
        )
        graph.port.set_params(engine_params(values | {"bypass": bypass}))
        graph.port.load_ir(ir)
        graph.start()
        blocks = len(sound) // 128
        out = [graph.process(sound[128 * n : 128 * (n + 1)]).copy() for n in range(blocks)]
        graph.close()
        levels.append(lufs(np.concatenate(out).T.astype(float)))
    assert abs(levels[0] - levels[1]) < 1.0
