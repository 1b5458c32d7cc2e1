"""The convolution kernel compared with convolution in float64, and its changes of IR with runs
without changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from dsp import _engine

Floats = NDArray[np.float32]
RATE_HZ = 48000
BLOCKS = [16, 32, 64, 128, 256, 512, 1024]


def kernel_of(block: int, max_taps: int, inputs: int = 2, fade_frames: int = 720) -> _engine.Kernel:
    return _engine.Kernel(_engine.plan(block, max_taps, inputs), fade_frames)


def run(kernel: _engine.Kernel, sound: Floats) -> Floats:
    out = np.empty((2, sound.shape[1]), np.float32)
    kernel.process(np.ascontiguousarray(sound), out)
    return out


def settle(kernel: _engine.Kernel, block: int, inputs: int) -> int:
    """Plays silence until the crossfade is over. Returns the number of blocks."""
    blocks = 0
    while kernel.fading:
        run(kernel, np.zeros((inputs, block), np.float32))
        blocks += 1
    return blocks


def truth(sound: Floats, ir: Floats) -> NDArray[np.float64]:
    """Convolution in float64. IR channels: 1 or 2: each output from its own input; 4: L->L, L->R,
    R->L, R->R."""
    x, h, n = sound.astype(float), ir.astype(float), sound.shape[1]

    def path(i: int, c: int) -> NDArray[np.float64]:
        return np.asarray(oaconvolve(x[i], h[c])[:n])

    if len(ir) == 4:
        return np.stack([path(0, o) + path(1, 2 + o) for o in range(2)])
    return np.stack([path(min(o, len(sound) - 1), min(o, len(ir) - 1)) for o in range(2)])


def room(channels: int, taps: int, seed: int) -> Floats:
    noise = np.random.default_rng(seed).standard_normal((channels, taps))
    return (noise * np.exp(-5 * np.arange(taps) / taps) / np.sqrt(taps)).astype(np.float32)


def speech(frames: int, seed: int) -> NDArray[np.float64]:
    """A speech-like signal: a buzz with formants, syllables and pauses."""
    t = np.arange(frames) / RATE_HZ
    rng = np.random.default_rng(seed)
    buzz = sum(
        np.sin(2 * np.pi * 120 * k * t + rng.uniform(0, 6)) / (1 + (k - 5) ** 2 / 9)
        for k in range(1, 40)
    )
    return np.asarray(0.1 * buzz * np.clip(np.sin(2 * np.pi * 3 * t), 0, None) ** 2)


def signals(kind: str, inputs: int, frames: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    if kind == "impulses":
        x = np.zeros((inputs, frames))
        x[:, rng.integers(0, frames, 9)] = rng.uniform(-1, 1, (inputs, 9))
    elif kind == "speech":
        x = np.stack([speech(frames, seed + i) for i in range(inputs)])
    else:
        x = 0.1 * rng.standard_normal((inputs, frames))
    return x.astype(np.float32)


def errors_db(got: Floats, expected: NDArray[np.float64]) -> tuple[float, float]:
    """rms of the error relative to the rms, and its peak relative to the peak, in dB."""
    difference = got - expected
    rms = np.sqrt(np.mean(difference**2) / np.mean(expected**2))
    peak = np.abs(difference).max() / np.abs(expected).max()
    return 20 * float(np.log10(rms + 1e-30)), 20 * float(np.log10(peak + 1e-30))


def check(
    block: int, taps: int, inputs: int, channels: int, kind: str, seed: int, *, spare_taps: int = 0
) -> None:
    kernel = kernel_of(block, taps + spare_taps, inputs)
    kernel.load(room(channels, taps, seed))
    settle(kernel, block, inputs)
    frames = (min(taps, 96000) + 6000) // block * block + block
    sound, ir = signals(kind, inputs, frames, seed + 1), room(channels, taps, seed)
    rms, peak = errors_db(run(kernel, sound), truth(sound, ir))
    assert rms < -130
    assert peak < -120


@settings(max_examples=60, derandomize=True)
@given(
    block=st.sampled_from(BLOCKS),
    taps=st.one_of(st.integers(1, 3000), st.integers(3000, 60000)),
    shape=st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2), (2, 4)]),
    kind=st.sampled_from(["noise", "speech", "impulses"]),
    spare_taps=st.sampled_from([0, 1, 5000, 50000]),
    seed=st.integers(0, 2**31),
)
def test_error_against_float64(
    block: int, taps: int, shape: tuple[int, int], kind: str, spare_taps: int, seed: int
) -> None:
    """-130 dB of rms and -120 dB of peak, no latency: any block, length, number of channels; IRs
    shorter than the engine allows."""
    check(block, taps, *shape, kind, seed, spare_taps=spare_taps)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("taps", [1, 97536])
def test_error_at_the_ends_of_the_range(block: int, taps: int) -> None:
    check(block, taps, 2, 2, "noise", 1)


@pytest.mark.parametrize("block", [64, 1024])
def test_error_of_ten_second_ir(block: int) -> None:
    check(block, 10 * RATE_HZ, 2, 2, "noise", 1)


def test_partitions_cover_ir_and_grow() -> None:
    for block in BLOCKS:
        for taps in (1, 1000, 97536, 480000):
            stages = _engine.stages(_engine.plan(block, taps, 2))
            assert stages[0][0] == block
            end = 0
            for size, partitions, offset in stages:
                assert offset == end
                end += size * partitions
            assert end >= taps
            assert [s[0] for s in stages] == sorted({s[0] for s in stages})


def test_reset_clears_input_and_keeps_ir() -> None:
    kernel, ir = kernel_of(64, 20000), room(2, 20000, 1)
    kernel.load(ir)
    settle(kernel, 64, 2)
    run(kernel, signals("noise", 2, 6400 - 64 * 7, 2))
    kernel.reset()
    sound = signals("noise", 2, 32000, 3)
    rms, _ = errors_db(run(kernel, sound), truth(sound, ir))
    assert rms < -130


# ---- changes of IR


def play_changing(
    sound: Floats, rooms: list[Floats], every_frames: int, block: int, fade_frames: int
) -> Floats:
    """Loads the newest room as soon as the kernel accepts one, like the pedal."""
    kernel = kernel_of(block, max(r.shape[1] for r in rooms), 2, fade_frames)
    kernel.load(rooms[0])
    settle(kernel, block, 2)
    out, wanted, loaded = np.empty((2, sound.shape[1]), np.float32), 0, 0
    for at in range(0, sound.shape[1], block):
        wanted = at // every_frames
        if wanted != loaded:
            try:
                kernel.load(rooms[wanted % len(rooms)])
                loaded = wanted
            except ValueError:  # a change is in progress
                pass
        out[:, at : at + block] = run(kernel, sound[:, at : at + block])
    return out


def outside(signal: Floats, hz: float = 1000.0) -> NDArray[np.float64]:
    """Residual of a sine after a filter with zeros at its frequency: clicks and steps."""
    x = signal.astype(float)
    return np.abs(x[:, 2:] - 2 * np.cos(2 * np.pi * hz / RATE_HZ) * x[:, 1:-1] + x[:, :-2])


def pink(frames: int, seed: int) -> Floats:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal((2, frames)))
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.shape[1]), 1))
    noise = np.fft.irfft(spectrum, frames)
    return (0.1 * noise / noise.std()).astype(np.float32)


def different_rooms() -> list[Floats]:
    """From dry to long, each with unit gain at 1 kHz, so that a change alters everything but the
    level."""
    t = np.arange(97536)
    rooms = [room(2, 97536, 1), room(2, 4000, 2), room(2, 30000, 3), np.ones((2, 1), np.float32)]
    rooms.append((room(2, 97536, 4) * (t > 20000)).astype(np.float32))  # late reverberation only
    phasor = np.exp(-2j * np.pi * 1000 / RATE_HZ * t)
    gains = [np.maximum(np.abs((r * phasor[: r.shape[1]]).sum(1)), 0.3) for r in rooms]
    return [(r / g[:, None]).astype(np.float32) for r, g in zip(rooms, gains, strict=True)]


@pytest.mark.parametrize("block", [64, 256])
@pytest.mark.parametrize("per_second", [5, 50])
def test_changes_do_not_click(block: int, per_second: int) -> None:
    """A sine through changing rooms: the residual stays below 1e-3 of the amplitude (a hard switch
    has 0.1 or more)."""
    frames = 3 * RATE_HZ // block * block
    sine = np.sin(2 * np.pi * 1000 * np.arange(frames) / RATE_HZ)
    sound = np.stack([sine, sine]).astype(np.float32)
    out = play_changing(sound, different_rooms(), RATE_HZ // per_second, block, 720)
    late = out[:, frames // 2 :]
    assert outside(late).max() < 1e-3 * np.abs(late).max()


def test_click_measure_detects_hard_switch() -> None:
    frames = RATE_HZ // 64 * 64
    sine = np.sin(2 * np.pi * 1000 * np.arange(frames) / RATE_HZ).astype(np.float32)
    out = play_changing(np.stack([sine, sine]), different_rooms(), RATE_HZ // 5, 64, 1)
    assert outside(out[:, frames // 2 :]).max() > 1e-2


@pytest.mark.parametrize("fade_frames", [240, 720, 960])
def test_change_with_tails_that_follow_is_complete_within_160_ms(fade_frames: int) -> None:
    """With blocks of 64 frames, at any block: 7680 frames after the load the output is that of the
    new room."""
    block, old, new = 64, room(2, 97536, 1), room(2, 97536, 2)
    sound = pink(4 * RATE_HZ // block * block, 3)
    expected = truth(sound, new)
    for phase in range(0, 40, 3):
        kernel = kernel_of(block, 97536, 2, fade_frames)
        kernel.load(old)
        settle(kernel, block, 2)
        at = (2 * RATE_HZ // block + phase) * block
        run(kernel, sound[:, :at])
        kernel.load(new, "follow")
        out = run(kernel, sound[:, at : at + 4864 + 7680])
        after = slice(7680, None)
        rms, _ = errors_db(out[:, after], expected[:, at : at + 4864 + 7680][:, after])
        assert rms < -130
        assert not kernel.fading


@pytest.mark.parametrize(
    ("block", "fade_frames"),
    [(16, 300), (64, 720), (64, 5000), (128, 48), (256, 960), (1024, 2000)],
)
def test_change_follows_raised_cosine(block: int, fade_frames: int) -> None:
    """With a constant input and positive taps the output is the sum of the taps: it goes from 1 to
    0.5 without leaving that range, and bends no more than a raised cosine in pieces of 16 frames: 8
    (pi / fade)^2 of the change."""
    old, new = (np.abs(room(2, 60000, seed)) for seed in (1, 2))
    old, new = old / old.sum(1, keepdims=True), 0.5 * new / new.sum(1, keepdims=True)
    kernel = kernel_of(block, 60000, 2, fade_frames)
    kernel.load(old.astype(np.float32))
    ones = np.ones((2, 2 * RATE_HZ // block * block), np.float32)
    np.testing.assert_allclose(run(kernel, ones)[:, -100:], 1, atol=1e-5)
    kernel.load(new.astype(np.float32))
    out = run(kernel, ones)
    assert not kernel.fading
    assert out.max() < 1 + 1e-5
    assert out.min() > 0.5 - 1e-5
    assert np.abs(np.diff(out, 2)).max() < 8 * (np.pi / fade_frames) ** 2 + 1e-5
    np.testing.assert_allclose(out[:, -100:], 0.5, atol=1e-5)


def test_changes_allocate_nothing_and_accept_shorter_and_silent_rooms() -> None:
    kernel = kernel_of(64, 97536)
    bytes_before = kernel.bytes
    rng = np.random.default_rng(1)
    for i in range(12):
        ir = room(2, int(rng.integers(1, 97536)), i)
        kernel.load(ir)
        with pytest.raises(ValueError, match="in progress"):
            kernel.load(ir)
        run(kernel, pink(64 * int(rng.integers(1, 100)), i))
        settle(kernel, 64, 2)
        sound = pink(19200, i)
        kernel.reset()
        rms, _ = errors_db(run(kernel, sound), truth(sound, ir))
        assert rms < -130
    assert kernel.bytes == bytes_before


def test_memory_is_below_32_bytes_per_tap_and_channel_plus_1_mib() -> None:
    """Delay line and spectra of one room, 8 bytes each; shares of windows with a fade, 16."""
    taps = 97536
    spectra = 2 * 8 * taps  # in the port, not the kernel
    for block in (64, 128, 256):
        assert kernel_of(block, taps).bytes + spectra < 2 * 32 * taps + 2**20
