"""Any block of the host on an engine whose blocks are powers of two: dsp/reblock.h."""

from __future__ import annotations

import mmap
from math import gcd

import numpy as np
import pytest
from scipy.signal import fftconvolve

from dsp import _engine
from dsp.graph import OfflineGraph

RATE_HZ = 48000
PARAMS = {name: param.default for name, param in _engine.PARAMS.items()} | {
    "gain_db": 0.0,
    "limiter_on": 0.0,
}
BLOCKS = [17, 24, 30, 48, 96, 100, 192, 441, 480, 1000, 1008, 1023, 1920, 2048, 3000, 4095, 4096]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_any_block_plays_with_the_latency_that_it_reports(block: int, mix: float) -> None:
    """Wet and dry are the exact signals, both late by `added_frames`: the least that is possible
    with blocks of 16 frames, and none for multiples of 16."""
    random = np.random.default_rng(block)
    blocks = max(4, 12_000 // block)
    sound = (0.1 * random.standard_normal((blocks * block, 2))).astype(np.float32)
    ir = (0.1 * random.standard_normal((2, 3000))).astype(np.float32)
    graph = OfflineGraph(rate_hz=RATE_HZ, block_frames=block, max_taps=3000)
    graph.port.set_params(PARAMS | {"mix": mix})
    graph.port.load_ir(ir)
    graph.start()
    added = graph.port.added_frames
    assert added == (0 if block % 16 == 0 else 16 - gcd(block, 16))
    got = np.concatenate(
        [graph.process(sound[at : at + block]).copy() for at in range(0, len(sound), block)]
    )
    graph.close()
    expected = sound.astype(float)
    if mix:
        expected = np.stack(
            [fftconvolve(expected[:, c], ir[c].astype(float))[: len(sound)] for c in range(2)],
            axis=1,
        )
    late = expected[: len(sound) - added]
    error = np.abs(got[added:] - late).max() / np.abs(late).max()
    assert error < 10 ** (-110 / 20)
    assert np.abs(got[:added]).max(initial=0) < 1e-6


@pytest.mark.parametrize("block", range(16, 4097, 53))
def test_engine_block_is_a_power_of_two_that_the_kernel_plays(block: int) -> None:
    frames = _engine.engine_frames(block)
    assert frames in (16, 32, 64, 128, 256, 512, 1024) and frames <= block
    assert block % frames == 0 or frames == 16


@pytest.mark.parametrize("block", [-1, 0, 1, 15, 4097, 8192])
def test_other_blocks_are_refused_with_the_range(block: int) -> None:
    with pytest.raises(ValueError, match="16 to 4096"):
        _engine.engine_frames(block)


def test_port_refuses_a_host_block_that_does_not_fit_its_layout() -> None:
    layout = _engine.plan(64, 1000)
    memory = mmap.mmap(-1, _engine.port_bytes(layout))
    with pytest.raises(ValueError, match="block"):
        _engine.Port(memory, layout=layout, rate_hz=RATE_HZ, block_frames=100)
