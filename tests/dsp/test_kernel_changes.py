"""Many changes of the IR, at every phase of the largest stage's job: each fades between two
convolutions and adds nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import oaconvolve

from dsp import _engine

BLOCK, MAX_TAPS, FADE, BLOCKS = 128, 288_000, 2400, 1200


@pytest.mark.parametrize("every", [37, 41, 50])
def test_change_at_any_phase_fades_between_two_convolutions(every: int) -> None:
    rng = np.random.default_rng(every)
    taps = [180_000, 50_000, 20_000]
    irs = [
        (0.02 * rng.standard_normal((2, n)) * np.exp(-6.9 * np.arange(n) / n)).astype(np.float32)
        for n in taps
    ]
    sound = (0.1 * rng.standard_normal((2, BLOCK * BLOCKS))).astype(np.float32)
    kernel = _engine.Kernel(_engine.plan(BLOCK, MAX_TAPS, 2), fade_frames=FADE)
    kernel.load(irs[0])
    out, changes, settled = np.zeros_like(sound), [(0, 0)], {}
    for at in range(0, sound.shape[1], BLOCK):
        if at // BLOCK > 100 and at // BLOCK % every == 0 and not kernel.fading:
            changes.append((at, (changes[-1][1] + 1) % len(irs)))
            kernel.load(irs[changes[-1][1]])
        block = np.zeros((2, BLOCK), np.float32)
        kernel.process(np.ascontiguousarray(sound[:, at : at + BLOCK]), block)
        out[:, at : at + BLOCK] = block
        if not kernel.fading:
            settled.setdefault(len(changes) - 1, at + BLOCK)
    assert len(changes) > 10
    wet = [
        np.stack(
            [
                oaconvolve(sound[c].astype(float), ir[c].astype(float))[: out.shape[1]]
                for c in range(2)
            ]
        )
        for ir in irs
    ]
    loudest = max(np.abs(w).max() for w in wet)
    ends = [*(at for at, _ in changes[1:]), out.shape[1]]
    for number in range(1, len(changes)):
        (at, new), (_, old) = changes[number], changes[number - 1]
        # Stages fade one after another, so parts of both rooms sound in between.
        part = out[:, at : ends[number]]
        assert np.abs(part).max() < 2 * loudest, (
            f"change {number}, in block {at // BLOCK}, from IR {old} to {new}"
        )
        quiet = slice(settled.get(number, ends[number]), ends[number])
        error = np.abs(out[:, quiet] - wet[new][:, quiet])
        if error.size:
            assert error.max() < 1e-5 * loudest, f"after change {number}, in block {at // BLOCK}"


@pytest.mark.parametrize("seed", range(16))
def test_random_changes_settle_to_convolution(seed: int) -> None:
    """Random block, inputs, layout and fade; IRs of any length and channel count; changes at any
    time. The error is below -94 dB of the peak in blocks without a change; during a change the
    output is no louder than three convolutions."""
    rng = np.random.default_rng([seed, 3])
    block = int(rng.choice([16, 64, 128, 256, 1024]))
    inputs, max_taps = int(rng.integers(1, 3)), int(rng.choice([200, 3000, 20_000, 97_536]))
    blocks = min(1200, 240_000 // block)
    irs = []
    for _ in range(4):
        taps, channels = (
            int(rng.integers(1, max_taps + 1)),
            int(rng.choice([1, 2, 4][: inputs + 1])),
        )
        noise = 0.05 * rng.standard_normal((channels, taps)) * np.exp(-6.9 * np.arange(taps) / taps)
        irs.append(noise.astype(np.float32))
    sound = (0.1 * rng.standard_normal((inputs, block * blocks))).astype(np.float32)
    wet = [_convolved(sound.astype(float), ir.astype(float)) for ir in irs]
    loudest = max(np.abs(w).max() for w in wet)
    kernel = _engine.Kernel(
        _engine.plan(block, max_taps, inputs), fade_frames=int(rng.choice([1, 64, 720, 2400, 9600]))
    )
    likely = rng.choice([1.0, 0.3, 0.02])
    kernel.load(irs[0])
    playing, settled, compared = 0, False, 0
    out = np.zeros((2, block), np.float32)
    for at in range(0, sound.shape[1], block):
        if at and not kernel.fading and rng.random() < likely:
            playing, settled = int(rng.integers(len(irs))), False
            kernel.load(irs[playing])
        kernel.process(np.ascontiguousarray(sound[:, at : at + block]), out)
        assert np.abs(out).max() < 3 * loudest
        if settled:
            compared += 1
            assert np.abs(out - wet[playing][:, at : at + block]).max() < 2e-5 * loudest, (
                f"block {at // block}"
            )
        settled = not kernel.fading
    assert compared or likely == 1


def _convolved(sound: np.ndarray, ir: np.ndarray) -> np.ndarray:
    """Both outputs, with the kernel's rules for 1, 2 and 4 channels."""
    left, right, frames = sound[0], sound[-1], sound.shape[1]
    if len(ir) == 4:
        return np.stack(
            [(oaconvolve(left, ir[o]) + oaconvolve(right, ir[2 + o]))[:frames] for o in range(2)]
        )
    return np.stack([oaconvolve(left, ir[0])[:frames], oaconvolve(right, ir[-1])[:frames]])
