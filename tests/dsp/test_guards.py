"""Guards of the output: no room, overwritten spectra, a DC offset."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from dsp._engine import PARAMS
from dsp.graph import OfflineGraph

Floats = NDArray[np.float32]
RATE_HZ, BLOCK = 48000, 64
NEUTRAL = {
    "mix": 1.0,
    "lowpass_hz": 20000.0,
    "highpass_hz": 20.0,
    "trails": 1.0,
    "fade_ms": 20.0,
    "tails": 0.0,
    "limiter_on": 1.0,
}
IMPULSE = np.zeros((2, 64), np.float32)
IMPULSE[:, 0] = 1


def graph(**params: float) -> OfflineGraph:
    made = OfflineGraph(rate_hz=RATE_HZ, block_frames=BLOCK, max_taps=1024)
    made.port.set_params(dict.fromkeys(PARAMS, 0.0) | NEUTRAL | params)
    return made


def play(through: OfflineGraph, sound: Floats) -> Floats:
    frames = len(sound) // BLOCK * BLOCK
    blocks = [through.process(sound[at : at + BLOCK]).copy() for at in range(0, frames, BLOCK)]
    return np.concatenate(blocks)


def sine(seconds: float, hz: float = 1000.0, level: float = 0.5) -> Floats:
    wave = level * np.sin(
        2 * np.pi * hz * np.arange(int(seconds * RATE_HZ) // BLOCK * BLOCK) / RATE_HZ
    )
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


def roughness(signal: Floats) -> NDArray[np.float64]:
    x = signal[:, 0].astype(np.float64)
    return np.abs(x[2:] - 2 * np.cos(2 * np.pi * 1000 / RATE_HZ) * x[1:-1] + x[:-2])


def test_wet_is_input_without_room_and_first_room_fades_in() -> None:
    through = graph()
    through.start()
    sound = sine(0.2)
    np.testing.assert_allclose(play(through, sound), sound, atol=1e-6)
    ir = np.zeros((2, 512), np.float32)
    ir[:, 100] = 0.5
    through.port.load_ir(ir)
    assert roughness(play(through, sound)).max() < 5e-3  # the limit of a crossfade; a cut has 0.5
    noise = (0.1 * np.random.default_rng(1).standard_normal((4096, 2))).astype(np.float32)
    play(through, np.zeros((4096, 2), np.float32))
    got = play(through, noise)
    expected = np.stack(
        [fftconvolve(noise[:, c].astype(float), ir[c].astype(float))[: len(got)] for c in range(2)],
        axis=1,
    )
    np.testing.assert_allclose(got, expected, atol=1e-6)  # the input itself has faded out
    through.close()


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30], ids=str)
def test_overwritten_spectra_play_input_and_recover(poison: float) -> None:
    through = graph(lowpass_on=1.0, highpass_on=1.0, predelay_ms=3.0)
    through.port.load_ir(IMPULSE)
    through.start()
    sound = sine(0.2)
    before = play(through, sound)
    spectra = np.frombuffer(through._memory, np.float32, offset=4096)
    kept = spectra.copy()
    spectra[64:] = np.where(
        spectra[64:] != 0, np.float32(poison), 0
    )  # after the header, which the kernel checks
    damaged = play(through, sound)
    assert np.isfinite(damaged).all() and np.abs(damaged).max() < 1.1 * np.abs(before).max()
    assert np.sqrt((damaged[2048:] ** 2).mean()) > 0.5 * np.sqrt((before[2048:] ** 2).mean())
    assert through.port.meters().nonfinite_samples > 0
    spectra[:] = kept
    play(through, sound)
    np.testing.assert_allclose(play(through, sound), play(through, sound), atol=1e-6)
    counted = through.port.meters().nonfinite_samples
    play(through, sound)
    assert through.port.meters().nonfinite_samples == counted
    del spectra
    through.close()


@pytest.mark.parametrize("offset", [0.3, -0.8])
def test_dc_offset_is_removed_without_click(offset: float) -> None:
    through = graph()
    through.port.load_ir(IMPULSE)
    through.start()
    out = play(through, sine(4, level=0.2) + np.float32(offset))
    assert abs(out[: RATE_HZ // 4].mean() - offset) < 0.01  # not at once: only a lasting offset
    assert abs(out[-RATE_HZ:].mean()) < 0.01 * abs(offset)
    assert np.abs(out[-RATE_HZ:]).max() == pytest.approx(0.2, rel=0.02)
    assert (
        roughness(out[64:]).max() - np.abs(offset) * (2 - 2 * np.cos(2 * np.pi * 1000 / RATE_HZ))
        < 1e-4
    )
    assert through.port.meters().offset_blocks > 0
    # Without an offset the guard turns off: the output is exactly the input again.
    play(through, sine(4, level=0.2))
    sound = sine(1, level=0.2)
    np.testing.assert_allclose(play(through, sound), sound, atol=1e-6)
    through.close()


@pytest.mark.parametrize(
    "sound",
    [
        sine(3, 20.0, 1.0),
        sine(3, 41.2, 1.0),
        sine(3, 440.0) + np.float32(0.09),
        np.abs(sine(1, 5.0, 0.1)),
    ],
    ids=[
        "20 Hz at full scale",
        "lowest E of a bass",
        "offset within limits",
        "slow one-sided signal",
    ],
)
def test_signals_without_dc_offset_pass_exactly(sound: Floats) -> None:
    through = graph()
    through.port.load_ir(IMPULSE)
    through.start()
    np.testing.assert_allclose(play(through, sound), sound, atol=2e-6)
    assert through.port.meters().offset_blocks == 0
    through.close()
