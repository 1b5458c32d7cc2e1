"""Drawn settings of all controls of the engine, one after another while sound passes: whatever
follows whatever, the output is finite, without clicks, without DC.

Half of the values are at an end of their range. NVERB_SETTINGS is how many settings each signal
meets; `make acceptance-kernel` takes 10 000. The rooms' own changes: test_kernel_changes.py.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from test_engine import RATE_HZ, Floats, noise, roughness

from device.controls import CONTROLS, defaults, to_value
from dsp.graph import OfflineGraph
from firmware_py.link.params import engine_params

SETTINGS = int(os.environ.get("NVERB_SETTINGS", "200"))
BLOCK, BLOCKS = 64, 75
"""Frames of a block, and blocks between two settings: 0.1 s, whole periods of 1 kHz."""
CONTROLLED = [c for c in CONTROLS if c.target == "engine" or c.name in ("tempo", "predelay_sync")]
ROOM_GAIN = 0.3
"""Of the room, at 1 kHz."""
LOUDEST = 0.9
"""Peak of the output with every gain at its highest: the limiter is not needed."""
GAINS_DB = 12 + 12
"""Of `gain` and `level` together, at most. The shelves add up to 1.5 dB at 1 kHz."""
CLICK = 1e-3
"""Of full scale: more than this is a click."""


def settings(seed: int, **kept: float) -> Iterator[dict[str, float]]:
    """The values of the controls, each time with some of them drawn again but those that are
    kept."""
    rng = np.random.default_rng(seed)
    values = defaults()
    while True:
        for number in rng.choice(len(CONTROLLED), rng.integers(1, len(CONTROLLED)), replace=False):
            position = rng.random() if rng.random() < 0.5 else float(rng.integers(2))
            values[CONTROLLED[number].name] = to_value(CONTROLLED[number], position)
        yield values | kept


def through(
    signal: Callable[[int], Floats], seed: int, **kept: float
) -> Iterator[tuple[dict[str, float], Floats]]:
    """Each setting, and the output while it is reached. signal(n): the n-th 0.1 s of the input."""
    graph = OfflineGraph(rate_hz=RATE_HZ, block_frames=BLOCK, max_taps=480)
    ir = np.zeros((2, 480), np.float32)
    ir[:, [0, 48 * 3]] = ROOM_GAIN / 2  # a reflection three periods later: the phase of 1 kHz is 0
    graph.port.set_params(engine_params(defaults()))
    graph.port.load_ir(ir)
    graph.start()
    try:
        for number, values in zip(range(SETTINGS), settings(seed, **kept), strict=False):
            graph.port.set_params(engine_params(values))
            sound = signal(number).reshape(BLOCKS, BLOCK, 2)
            yield values, np.concatenate([graph.process(block).copy() for block in sound])
    finally:
        graph.close()


def sine_1khz(_: int) -> Floats:
    shelves_db = 1.5
    amplitude = LOUDEST / (10 ** (GAINS_DB / 20) * (1 + ROOM_GAIN * 10 ** (shelves_db / 20)))
    wave = amplitude * np.sin(2 * np.pi * 1000 * np.arange(BLOCK * BLOCKS) / RATE_HZ)
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


def test_no_setting_clicks_or_adds_dc() -> None:
    """Without shimmer, which is no click but adds other tones; its own: test_shimmer.py."""
    before = np.zeros((2, 2), np.float32)
    means: deque[Floats] = deque(maxlen=10)
    for number, (values, out) in enumerate(through(sine_1khz, seed=1, shimmer=0)):
        assert np.isfinite(out).all(), values
        assert np.abs(out).max() < 1, values
        if number:  # not the beginning of the sine
            assert roughness(np.concatenate([before, out])).max() < CLICK, values
        means.append(out.mean(axis=0))
        # Over 1 s: a sine that begins or ends has a mean, too.
        assert len(means) < 10 or np.abs(np.mean(means, axis=0)).max() < CLICK, values
        before = out[-2:]


def steps(number: int) -> Floats:
    """Full scale, silence and full scale below zero in turn, also between two settings."""
    level = (np.arange(BLOCK * BLOCKS) // 1000 + number) % 4
    wave = np.array([0.0, 1.0, -1.0, 0.0])[level]
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


@pytest.mark.parametrize("signal", [steps, lambda n: 8 * noise(BLOCK * BLOCKS, seed=n)])
def test_loud_input_stays_finite_and_within_the_gains(signal: Callable[[int], Floats]) -> None:
    """The filters overshoot a step by less than 2; the shelves add 12 dB. The limiter takes a gain
    of 0.99999 for 1."""
    most = 5 * 10 ** (GAINS_DB / 20) * (1 + ROOM_GAIN * 10 ** (24 / 20) * 2**2)
    for values, out in through(signal, seed=2):
        assert np.isfinite(out).all(), values
        assert np.abs(out).max() < (1 + 2e-5 if values["limiter"] else most), values


def test_silence_stays_silent() -> None:
    for values, out in through(lambda _: np.zeros((BLOCK * BLOCKS, 2), np.float32), seed=3):
        assert not out.any(), values
