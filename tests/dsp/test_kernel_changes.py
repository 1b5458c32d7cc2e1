"""Changes of the IR, at every phase of the largest stage's job, compared with float64.

Tails that keep their room: each room convolves its own share of the input. Tails that follow: after
the change all input is convolved with the new room."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
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
    kernel.load(irs[0], "follow")
    out, changes, settled = np.zeros_like(sound), [(0, 0)], {}
    for at in range(0, sound.shape[1], BLOCK):
        if at // BLOCK > 100 and at // BLOCK % every == 0 and not kernel.fading:
            changes.append((at, (changes[-1][1] + 1) % len(irs)))
            kernel.load(irs[changes[-1][1]], "follow")
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
    kernel.load(irs[0], "follow")
    playing, settled, compared = 0, False, 0
    out = np.zeros((2, block), np.float32)
    for at in range(0, sound.shape[1], block):
        if at and not kernel.fading and rng.random() < likely:
            playing, settled = int(rng.integers(len(irs))), False
            kernel.load(irs[playing], "follow")
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


CHANCES = int(os.environ.get("NVERB_KERNEL_CHANGES", "16"))
"""`make acceptance-kernel` draws many more."""
Floats = NDArray[np.float32]


def shares(frames: int, changes: list[int], fade: int) -> list[NDArray[np.float64]]:
    """The weight of each room at each frame, the first before all changes: a raised cosine in
    pieces of 16 frames, the last of which ends at 1."""
    ends = np.arange(0, fade + 32, 16)
    gain = np.where(ends >= fade, 1, 0.5 - 0.5 * np.cos(np.pi * ends / fade))
    rises = [np.interp(np.arange(frames) - at, ends, gain, left=0, right=1) for at in changes]
    levels = [np.ones(frames), *rises, np.zeros(frames)]
    return [up - down for up, down in pairwise(levels)]


def drawn_rooms(rng: np.random.Generator, count: int, inputs: int, max_taps: int) -> list[Floats]:
    rooms = []
    for _ in range(count):
        channels = int(rng.choice([1, 2, 4][: inputs + 1]))
        taps = int(rng.integers(1, max_taps + 1))
        noise = rng.standard_normal((channels, taps)) * np.exp(-5 * np.arange(taps) / taps)
        rooms.append((0.05 * noise).astype(np.float32))
    return rooms


def step(kernel: _engine.Kernel, sound: Floats, at: int, block: int) -> Floats:
    out = np.empty((2, block), np.float32)
    kernel.process(np.ascontiguousarray(sound[:, at : at + block]), out)
    return out


def rms_db(error: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    return 10 * float(np.log10(np.mean(error**2) / np.mean(expected**2) + 1e-30))


def try_load(
    kernel: _engine.Kernel, ir: Floats, tails: Literal["keep", "follow", "cut"] = "keep"
) -> bool:
    try:
        kernel.load(ir, tails)
    except ValueError as error:
        assert "in progress" in str(error)
        return False
    return True


@pytest.mark.parametrize("seed", range(CHANCES))
def test_each_input_keeps_its_room(seed: int) -> None:
    """y = the sum of h_i * (x w_i), -129 dB rms: 2 to 6 rooms at random times, any block, length,
    fade and number of channels."""
    rng = np.random.default_rng([seed, 17])
    block = int(rng.choice([16, 32, 64, 128, 256, 512, 1024]))
    inputs, max_taps = int(rng.integers(1, 3)), int(rng.choice([1, 200, 3000, 20000, 97536]))
    fade = int(rng.choice([1, 64, 720, 720, 2400, 9600]))
    rooms = drawn_rooms(rng, int(rng.integers(2, 7)), inputs, max_taps)
    kernel = _engine.Kernel(_engine.plan(block, max_taps, inputs), fade_frames=fade)
    frames = (2 * max_taps + 3 * len(rooms) * fade + 20000) // block * block
    sound = (0.1 * rng.standard_normal((inputs, frames))).astype(np.float32)
    out, changes, due = np.zeros((2, frames), np.float32), [], 0
    apart = int(rng.choice([1, 500, 5000, max_taps]))
    for at in range(0, frames, block):
        if len(changes) < len(rooms) and at >= due and try_load(kernel, rooms[len(changes)]):
            changes.append(at)
            due = at + int(rng.integers(0, apart + 1))
        out[:, at : at + block] = step(kernel, sound, at, block)
    assert len(changes) == len(rooms)
    assert kernel.rooms == 1  # those that no longer sound are free
    expected = np.sum(
        [
            _convolved(sound * weight, ir.astype(float))
            for weight, ir in zip(shares(frames, changes, fade)[1:], rooms, strict=True)
        ],
        axis=0,
    )
    assert rms_db(out - expected, expected) < -129


@pytest.mark.parametrize("seed", range(CHANCES))
def test_any_changes_end_in_the_last_room(seed: int) -> None:
    """Tails that keep, follow or are cut, in any order, and more rooms than there are places. When
    what rang before a last change is over, the input is convolved with the last room."""
    rng = np.random.default_rng([seed, 18])
    block = int(rng.choice([16, 64, 128, 256, 1024]))
    inputs, max_taps = int(rng.integers(1, 3)), int(rng.choice([200, 3000, 20000, 97536]))
    kernel = _engine.Kernel(
        _engine.plan(block, max_taps, inputs), fade_frames=int(rng.choice([1, 64, 720, 2400]))
    )
    rooms = drawn_rooms(rng, 4, inputs, max_taps)
    frames = (60000 + 2 * max_taps) // block * block
    ends = frames - 30000 - max_taps
    sound = (0.1 * rng.standard_normal((inputs, frames))).astype(np.float32)
    wet = [_convolved(sound.astype(float), ir.astype(float)) for ir in rooms]
    loudest, likely = max(np.abs(w).max() for w in wet), rng.choice([1.0, 0.1, 0.02])
    modes = [("keep",), ("keep", "keep", "keep", "follow", "cut")][int(rng.integers(2))]
    last, at = -1, 0
    for at in range(0, frames, block):
        if rng.random() < likely and at < ends:
            try_load(kernel, rooms[int(rng.integers(4))], str(rng.choice(modes)))  # type: ignore[arg-type]
        if at >= ends and last < 0:
            last = int(rng.integers(4))
            if not try_load(kernel, rooms[last], "follow"):
                last = -1
        out = step(kernel, sound, at, block)
        assert np.abs(out).max() < 4 * loudest
    assert last >= 0
    assert not kernel.fading
    assert kernel.rooms == 1
    assert np.abs(out - wet[last][:, at : at + block]).max() < 2e-5 * loudest


def exact(sound: Floats, changes: list[int], fade: int, rooms: list[Floats]) -> NDArray[np.float64]:
    """The sum of each room's convolution with its share of the input."""
    frames = sound.shape[1]
    out = np.zeros((2, frames))
    for weight, room in zip(shares(frames, changes, fade)[1:], rooms, strict=True):
        begin, end = np.flatnonzero(weight)[[0, -1]] + [0, 1]
        part = np.zeros((len(sound), min(frames - begin, end - begin + room.shape[1])))
        part[:, : end - begin] = (sound * weight)[:, begin:end]
        out[:, begin : begin + part.shape[1]] += _convolved(part, room.astype(float))
    return out


@pytest.mark.parametrize("seed", range(CHANCES))
def test_soft_rooms_make_place(seed: int) -> None:
    """More rooms than there are places, and only some of them with input that is heard: no room
    waits, and no sample is off by more than -90 dB for each room that was dropped."""
    rng = np.random.default_rng([seed, 19])
    block, inputs = int(rng.choice([16, 64, 256, 1024])), int(rng.integers(1, 3))
    max_taps, fade = 60_000, int(rng.choice([1, 720, 2400]))
    rooms = [ir / np.sqrt((ir**2).sum()) for ir in drawn_rooms(rng, 24, inputs, max_taps)]
    apart = 7000 // block * block
    frames = (len(rooms) * apart + max_taps) // block * block
    sound = (1e-8 * rng.standard_normal((inputs, frames))).astype(np.float32)
    for loud in range(0, len(rooms), 4):
        at = loud * apart + 3000
        sound[:, at : at + 500] = 0.1 * rng.standard_normal((inputs, 500))
    kernel = _engine.Kernel(_engine.plan(block, max_taps, inputs), fade_frames=fade)
    out, changes = np.empty((2, frames), np.float32), []
    for at in range(0, frames, block):
        if at % apart == 0 and len(changes) < len(rooms):
            kernel.load(rooms[len(changes)])
            changes.append(at)
        out[:, at : at + block] = step(kernel, sound, at, block)
    error = out - exact(sound, changes, fade, rooms)
    assert np.abs(error).max() < len(rooms) * 10 ** (-90 / 20)


@pytest.mark.parametrize("loud", range(6))
def test_the_move_that_changes_least_is_chosen(loud: int) -> None:
    """Six rooms, one of them with input at -20 dB, the others at -80 dB, and two more that make
    moves necessary: what rings of the loud one is exact to -35 dB."""
    rng, taps, block, apart = np.random.default_rng(loud), 48_000, 64, 3200
    decay = np.exp(-6.9 * np.arange(taps) / taps)
    rooms = [
        (0.01 * (4 if n % 2 else 1) * rng.standard_normal((2, taps)) * decay).astype(np.float32)
        for n in range(8)
    ]
    frames = len(rooms) * apart + taps
    sound = (1e-4 * rng.standard_normal((2, frames))).astype(np.float32)
    sound[:, loud * apart + 720 : (loud + 1) * apart] *= 1000
    kernel = _engine.Kernel(_engine.plan(block, taps, 2), fade_frames=720)
    out, changes = np.empty((2, frames), np.float32), []
    for at in range(0, frames, block):
        if at >= len(changes) * apart and len(changes) < len(rooms):
            changes += [at] if try_load(kernel, rooms[len(changes)]) else []
        out[:, at : at + block] = step(kernel, sound, at, block)
    expected = exact(sound, changes, 720, rooms)
    assert rms_db(out - expected, expected) < -35


def test_more_rooms_than_places_are_moved() -> None:
    """Changes at 50 a second for 4 s: the newest room always sounds, at most seven are in use."""
    rng = np.random.default_rng(1)
    kernel = _engine.Kernel(_engine.plan(64, 97536, 2), fade_frames=720)
    rooms = [(0.01 * rng.standard_normal((2, 97536))).astype(np.float32) for _ in range(3)]
    sound = (0.1 * rng.standard_normal((2, 3000 * 64))).astype(np.float32)
    loaded, most = 0, 0
    for at in range(0, sound.shape[1], 64):
        if at % 960 == 0:
            loaded += try_load(kernel, rooms[loaded % 3])
        step(kernel, sound, at, 64)
        most = max(most, kernel.rooms)
    assert most == 7
    assert loaded > 60  # a move takes 150 ms, and frees up to three places
    for at in range(0, 2 * 97536, 64):
        step(kernel, sound, at % 64, 64)
    assert kernel.rooms == 1


def test_steady_sine_through_equal_rooms_is_untouched() -> None:
    """The weights add up to 1: no dip, no swell."""
    frames = 96000
    sine = np.sin(2 * np.pi * 1000 * np.arange(frames) / 48000)
    sound = (0.5 * np.stack([sine, sine])).astype(np.float32)
    room = np.random.default_rng(1).standard_normal((2, 20000)).astype(np.float32) / 100
    kernel = _engine.Kernel(_engine.plan(64, 20000, 2), fade_frames=720)
    kernel.load(room)
    out = []
    for at in range(0, frames, 64):
        if at > 48000 and at % 1920 == 0:
            try_load(kernel, room)
        out.append(step(kernel, sound, at, 64))
    expected = _convolved(sound.astype(float), room.astype(float))[:, 48000:]
    got = np.concatenate(out, axis=1)[:, 48000:]
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(("block", "inputs"), [(16, 1), (64, 2), (256, 2)])
def test_equal_rooms_sound_as_one(block: int, inputs: int) -> None:
    """Noise, and changes at 50 a second between rooms that are equal: passages fade, move and are
    joined, and the output is that of one room, -120 dB."""
    frames, taps = 240_000 // block * block, 60_000
    rng = np.random.default_rng(block)
    room = (0.01 * rng.standard_normal((2, taps))).astype(np.float32)
    sound = (0.1 * rng.standard_normal((inputs, frames))).astype(np.float32)
    kernel = _engine.Kernel(_engine.plan(block, taps, inputs), fade_frames=720)
    kernel.load(room, "follow")
    out, loads = np.empty((2, frames), np.float32), 0
    for at in range(0, frames, block):
        if at % 960 < block and at > 960 and rng.random() < 0.8:
            loads += try_load(kernel, room)
        out[:, at : at + block] = step(kernel, sound, at, block)
    assert loads > 40
    expected = _convolved(sound.astype(float), room.astype(float))
    late = slice(24_000, None)  # the first room has faded in
    assert rms_db(out[:, late] - expected[:, late], expected[:, late]) < -120


def plucks(frames: int, rate: int) -> NDArray[np.float64]:
    """Two a second, -60 dB after 0.4 s."""
    t = np.arange(frames) % (rate // 2) / rate
    return np.asarray(
        np.exp(-6.9 * t / 0.4) * (1 - np.exp(-t / 0.002)) * np.sin(2 * np.pi * 196 * t)
    )


@pytest.mark.parametrize(("kind", "off_db"), [("noise", 0.5), ("sine", 0.5), ("plucks", 3.0)])
def test_swept_rooms_change_the_level_in_small_steps(kind: str, off_db: float) -> None:
    """Decay times from 0.3 to 1.5 s and back at 50 changes a second, more than places for rooms:
    the level in windows of 50 ms is near that of an exact change, in which each input keeps its
    room, where it is above -60 dB of the loudest; of a sine 1e-3 is outside of 200 Hz around it."""
    rng, rate, frames, taps = np.random.default_rng(1), 48_000, 144_000, 48_000
    carrier = rng.standard_normal((2, taps))
    tones = {"sine": np.sin(2 * np.pi * 1000 * np.arange(frames) / rate)}
    tones |= {"noise": rng.standard_normal((2, frames)), "plucks": plucks(frames, rate)}
    sound = (0.1 * tones[kind] * np.ones((2, 1))).astype(np.float32)
    kernel = _engine.Kernel(_engine.plan(64, taps, 2), fade_frames=720)
    out, changes, rooms = np.empty_like(sound), [], []
    for at in range(0, frames, 64):
        if at % 960 == 0:
            decay_s = 0.3 * 5 ** (0.5 - 0.5 * np.cos(np.pi * at / rate))
            decay = 10 ** (-3 * np.arange(taps) / rate / decay_s)
            room = (carrier * decay / np.sqrt(np.sum(decay**2))).astype(np.float32)
            if try_load(kernel, room):
                changes.append(at)
                rooms.append(room)
        out[:, at : at + 64] = step(kernel, sound, at, 64)
    assert len(changes) > 40
    expected = exact(sound, changes, 720, rooms)
    level, own = (np.mean(y.reshape(2, -1, 2400) ** 2, axis=(0, 2)) for y in (out, expected))
    heard = own > 1e-6 * own.max()
    assert np.abs(10 * np.log10(level / own))[heard].max() < off_db
    late = out[0, rate:] * np.hanning(frames - rate)
    spectrum = np.abs(np.fft.rfft(late)) ** 2
    outside = np.abs(np.fft.rfftfreq(len(late), 1 / rate) - 1000) > 200
    assert kind != "sine" or np.sqrt(spectrum[outside].sum() / spectrum.sum()) < 1e-3
