"""Dense layers in integers, compared with real numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dsp import _engine

Doubles = NDArray[np.float64]


def pair(real: float) -> tuple[int, int]:
    mantissa, shift = math.frexp(real)
    return min(int(mantissa * 2**31), 2**31 - 1), shift


def a_layer(
    rng: np.random.Generator, inputs: int, outputs: int, *, bias: bool, swish: bool
) -> tuple[_engine.DenseLayer, Doubles, Doubles]:
    """A layer whose values all have a step of 2**-12; its weights and what it adds, as numbers."""
    weights = rng.integers(-128, 128, (outputs, inputs)).astype(np.int8)
    steps = rng.uniform(0.2, 1, outputs) / (128 * math.sqrt(inputs))
    own = rng.integers(-30000, 30000, outputs) if bias else np.zeros(outputs, np.int64)
    less = rng.integers(-8000, 8000, outputs)
    factor, shift = (np.array(part, np.int32) for part in zip(*map(pair, steps), strict=True))
    layer = (
        weights,
        own if bias else None,
        factor,
        shift,
        (less * (1 << 14)).astype(np.int32),  # 2**15 times, of a factor of a half
        (*pair(0.5), *pair(2.0**-14)),
        (12288, 12, *pair(2.0**-15)) if swish else None,  # a unit is 3 * 4096 of 2**-12 steps
    )
    return layer, weights * steps[:, None], (own * steps - less) / 4096


@pytest.mark.parametrize("inputs", [1, 8, 255, 256, 257, 700])
def test_values_equal_real_numbers(inputs: int) -> None:
    """Two layers, with and without bias and swish; within three steps of int16."""
    rng = np.random.default_rng(inputs)
    first, weights, more = a_layer(rng, inputs, 300, bias=True, swish=True)
    second, weights2, more2 = a_layer(rng, 300, 9, bias=False, swish=False)
    network = _engine.Dense(2.0**-12, 2.0**-12, (first, second))
    assert (network.inputs, network.outputs) == (inputs, 9)
    for _ in range(5):
        values = rng.uniform(-1, 1, inputs).astype(np.float32)
        z = weights @ (np.rint(values * 4096) / 4096) + more
        expected = weights2 @ (z / (1 + np.exp(-z))) + more2
        out = np.empty(9, np.float32)
        network(values, out)
        assert np.abs(out - np.clip(expected, -8, 8)).max() <= 3 / 4096


def test_values_beyond_int16_are_limited() -> None:
    """Also values that are no numbers."""
    weights = np.array([[127], [-127]], np.int8)
    one, half = np.full(2, 2**30, np.int32), np.zeros(2, np.int32)
    row = (weights, None, one, half, np.zeros(2, np.int32), (*pair(0.5), *pair(2.0**-14)), None)
    network, out = _engine.Dense(1.0, 1.0, (row,)), np.empty(2, np.float32)
    for value, expected in (
        (1e6, (32767, -32768)),
        (-np.inf, (-32768, 32767)),
        (np.nan, (0, 0)),
        (1.5, (127, -127)),
    ):
        network(np.array([value], np.float32), out)
        assert np.abs(out - expected).max() <= 1


def test_arrays_that_do_not_fit_are_rejected() -> None:
    rng = np.random.default_rng(1)
    row, *_ = a_layer(rng, 5, 7, bias=True, swish=True)
    _engine.Dense(1.0, 1.0, (row,))
    assert row[1] is not None
    for place, value in (
        (0, np.zeros((7, 5), np.int16)),
        (0, np.zeros((0, 5), np.int8)),
        (0, np.zeros(7, np.int8)),
        (0, np.zeros((7, 5), np.uint8)),
        (1, np.zeros(6, np.int64)),
        (2, np.zeros(7, np.int64)),
        (2, np.full(7, -1, np.int32)),
        (3, np.full(7, 31, np.int32)),
        (3, np.full(7, -32, np.int32)),
        (4, np.zeros(8, np.int32)),
        (5, (1, 1, 1, 0)),
        (5, (-1, 0, 1, 0)),
        (5, (1, 0)),
        (6, (32768, 1, 1, 0)),
        (6, (1, -1, 1, 0)),
        (6, (1, 1, 1, 31)),
        (6, 3),
    ):
        bad = (*row[:place], value, *row[place + 1 :])
        with pytest.raises((ValueError, TypeError)):
            _engine.Dense(1.0, 1.0, (bad,))  # type: ignore[arg-type]
    for layers in ((), (row, row), (None,)):
        with pytest.raises((ValueError, TypeError)):
            _engine.Dense(1.0, 1.0, layers)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="in_scale"):
        _engine.Dense(0.0, 1.0, (row,))
    network = _engine.Dense(1.0, 1.0, (row,))
    for inputs, outputs in ((4, 7), (5, 8)):
        with pytest.raises(ValueError, match="fit"):
            network(np.zeros(inputs, np.float32), np.empty(outputs, np.float32))
