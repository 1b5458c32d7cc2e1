"""Which input feeds which side: the rules of dsp/sides.h, on the dry path of the offline graph."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from dsp import _engine
from dsp.graph import OfflineGraph

Floats = NDArray[np.float32]
RATE_HZ = 48000
DRY = {name: param.default for name, param in _engine.PARAMS.items()} | {
    "gain_db": 0.0,
    "mix": 0.0,
    "mix_law": 0.0,
    "predelay_ms": 0.0,
    "lowpass_on": 0.0,
    "lowpass_hz": 20000.0,
    "highpass_on": 0.0,
    "highpass_hz": 20.0,
    "bypass": 0.0,
    "trails": 1.0,
    "limiter_on": 0.0,
    "fade_ms": 20.0,
    "tails": 0.0,
}
OWN, FIRST, SECOND = 0, 1, 2


def ms(milliseconds: float) -> int:
    return round(milliseconds * RATE_HZ / 1000)


def play(
    sound: Floats,
    *,
    block: int = 64,
    automatic_inputs: bool = True,
    mono_output: bool = False,
    feeds: list[int] | None = None,
    sources: list[bool] | None = None,
) -> Floats:
    """`sound` (frames, 2) through the dry path. `feeds`, `sources` receive the meters `input_feed`
    and `two_sources` after each block."""
    graph = OfflineGraph(rate_hz=RATE_HZ, block_frames=block, max_taps=64, ir_channels=2)
    graph.port.set_params(DRY)
    graph.start()
    graph.route(automatic_inputs=automatic_inputs, mono_output=mono_output)
    out = np.zeros((len(sound) // block * block, 2), np.float32)
    for at in range(0, len(out), block):
        out[at : at + block] = graph.process(sound[at : at + block])
        if feeds is not None:
            feeds.append(graph.port.meters().input_feed)
        if sources is not None:
            sources.append(bool(graph.port.meters().two_sources))
    graph.close()
    return out


def tone(seconds: float, amplitude: float = 0.5, hz: float = 1000.0) -> NDArray[np.float64]:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


CYCLE = sum(np.sin(k * 2 * np.pi * np.arange(4096) / 4096 + k) / k for k in range(1, 9))
"""Of a string: eight harmonics."""


@functools.cache
def pluck(frames: int) -> NDArray[np.float64]:
    """2 ms attack, exponential decay to -60 dB in 2 s."""
    t = np.arange(frames) / RATE_HZ
    return np.asarray(np.minimum(t / 0.002, 1) * 10 ** (-1.5 * t))


def note(seconds: float, amplitude: float, hz: float = 220.0) -> NDArray[np.float64]:
    """A plucked string. A table of one period is 10 times faster than sines."""
    shape = pluck(int(seconds * RATE_HZ))
    wave = CYCLE[(np.arange(len(shape)) * (4096 * hz / RATE_HZ)).astype(np.int64) % 4096]
    return np.asarray(0.5 * amplitude * wave * shape)


def hum(frames: int, peak_db: float, seed: int = 1) -> NDArray[np.float64]:
    """An open input: 50 Hz and odd harmonics, and noise, with this peak."""
    t = np.arange(frames) / RATE_HZ
    wave = sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in (1, 3, 5, 7))
    wave = wave + 0.1 * np.random.default_rng(seed).standard_normal(frames)
    return np.asarray(wave / np.abs(wave).max() * 10 ** (peak_db / 20))


def stereo(first: NDArray[np.float64], second: NDArray[np.float64]) -> Floats:
    return np.stack([first, second], axis=1).astype(np.float32)


def level_db(sound: Floats, side: int) -> float:
    return float(10 * np.log10(np.mean(sound[:, side].astype(float) ** 2) + 1e-30))


def roughness(x: NDArray[np.floating], hz: float = 1000.0) -> NDArray[np.float64]:
    """Residual of a steady sine after a filter with zeros at its frequency."""
    y = x.astype(np.float64)
    return np.abs(y[2:] - 2 * np.cos(2 * np.pi * hz / RATE_HZ) * y[1:-1] + y[:-2])


def same(got: Floats, expected: Floats, where: str = "") -> None:
    """Within 2e-6: the end of pyo's fade-in is 1 less some 1e-7."""
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6, err_msg=where)


def silence(seconds: float) -> NDArray[np.float64]:
    return np.zeros(int(seconds * RATE_HZ))


@pytest.mark.parametrize("block", [16, 128, 1024])
@pytest.mark.parametrize("plugged", [0, 1])
@pytest.mark.parametrize("hum_db", [None, -80, -60])
@pytest.mark.parametrize("amplitude", [0.5, 0.03])
def test_one_guitar_sounds_on_both_sides_within_50_ms(
    block: int, plugged: int, hum_db: float | None, amplitude: float
) -> None:
    start = ms(800) + 37
    guitar = np.concatenate([silence(0.8), silence(37 / RATE_HZ), note(1, amplitude)])
    other = silence(len(guitar) / RATE_HZ) if hum_db is None else hum(len(guitar), hum_db)
    sound = stereo(guitar, other) if plugged == 0 else stereo(other, guitar)
    feeds: list[int] = []
    out = play(sound, block=block, feeds=feeds)
    late = out[start + ms(50) : start + ms(150)]
    assert abs(level_db(late, 0) - level_db(late, 1)) < 0.1
    assert feeds[-1] == (FIRST, SECOND)[plugged]
    same(out[:, plugged], sound[: len(out), plugged])


def test_crosstalk_of_a_card_is_no_sound() -> None:
    """-60 dB, as a cheap converter has: -60 dBFS under a full-scale note."""
    guitar = np.concatenate([silence(0.6), note(1, 1.0)])
    feeds: list[int] = []
    out = play(stereo(guitar, guitar * 10 ** (-60 / 20)), feeds=feeds)
    assert feeds[-1] == FIRST
    assert abs(level_db(out[-ms(500) :], 0) - level_db(out[-ms(500) :], 1)) < 0.1


@pytest.mark.parametrize("block", [16, 128, 1024])
@pytest.mark.parametrize("after_ms", [5, 12, 17, 22, 30, 45, 700])
def test_second_input_is_stereo_again_without_a_click(block: int, after_ms: float) -> None:
    """1 kHz on both inputs, the second one later, of other phase and level. The residual has
    neither tone, so it is what the change of routing adds: at most 1e-3."""
    first, second = tone(2), 0.4 * np.roll(tone(2, 1.0), 13)
    fade = np.clip((np.arange(len(second)) - ms(100 + after_ms)) / ms(200), 0, 1)
    second *= 0.5 - 0.5 * np.cos(np.pi * fade)
    rise = np.clip(np.arange(len(first)) / ms(100), 0, 1)
    sound = stereo(first * (0.5 - 0.5 * np.cos(np.pi * rise)), second)
    sound = np.concatenate([np.zeros((ms(600), 2), np.float32), sound])
    feeds: list[int] = []
    out = play(sound, block=block, feeds=feeds)
    source = max(roughness(sound[:, 0]).max(), roughness(sound[:, 1]).max())
    assert source < 1e-4
    assert max(roughness(out[:, 0]).max(), roughness(out[:, 1]).max()) < 1e-3
    assert feeds[-1] == OWN
    same(out[-ms(500) :], sound[: len(out)][-ms(500) :])


def recording(seed: int) -> tuple[Floats, int]:
    """Random notes on both sides, one side up to 40 dB softer, with stretches panned hard to one
    side. Also returns the frame by which both sides have spoken."""
    random = np.random.default_rng(seed)
    seconds = 10
    sides = np.zeros((2, seconds * RATE_HZ))
    hard = int(random.integers(0, 2))
    quiet = [(3.5, 6.5), (7.5, 10.0)]  # of the side `hard`, then of the other one
    for number, (begin, end) in enumerate(quiet):
        side = hard if number == 0 else 1 - hard
        for at in np.sort(random.uniform(begin, end - 1.5, 4)):
            put(sides[1 - side], note(1.4, random.uniform(0.2, 0.8), random.uniform(80, 900)), at)
    for side in range(2):
        for at in [random.uniform(0.6, 1.0), *random.uniform(1.0, 2.5, 4)]:
            put(sides[side], note(1.4, random.uniform(0.2, 0.8), random.uniform(80, 900)), at)
    softer_db = -random.uniform(0, 40)
    sides[int(random.integers(0, 2))] *= 10 ** (softer_db / 20)
    spoken = max(int(np.argmax(np.abs(x) > 10 ** (-60 / 20))) for x in sides)
    return stereo(sides[0], sides[1]), spoken


def put(side: NDArray[np.float64], sound: NDArray[np.float64], at_s: float) -> None:
    at = int(at_s * RATE_HZ)
    side[at : at + len(sound)] += sound[: len(side) - at]


def test_true_stereo_never_collapses() -> None:
    """100 recordings: from 100 ms after both sides have spoken the output is the input, also
    while one side is silent for seconds."""
    for seed in range(100):
        sound, spoken = recording(seed)
        out = play(sound, block=1024)
        begin = spoken + ms(100)
        same(out[begin:], sound[begin : len(out)], f"seed {seed}")


def test_two_sources_are_two_inputs_that_sound_and_differ() -> None:
    """The meter at the end. In a long silence it stays."""
    guitar, other = np.concatenate([silence(0.6), note(0.4, 0.5)]), note(1, 0.3, 330)
    cases: list[tuple[str, Floats, bool, bool]] = [
        ("nothing", stereo(silence(1), silence(1)), True, False),
        ("one guitar", stereo(guitar, silence(1)), True, False),
        (
            "a guitar and the hum of an open input",
            stereo(guitar, hum(len(guitar), -60)),
            True,
            False,
        ),
        ("two guitars", stereo(guitar, other), True, True),
        ("a card with one input", stereo(guitar, guitar), True, False),
        ("one side of a stereo source", stereo(silence(1), guitar), False, True),
        ("two guitars, then 31 s of silence", stereo(*two_then_silence(guitar, other)), True, True),
    ]
    for what, sound, automatic, wanted in cases:
        sources: list[bool] = []
        play(sound, block=1024, automatic_inputs=automatic, sources=sources)
        assert sources[-1] is wanted, what


def two_then_silence(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    return [np.concatenate([each, silence(31)]) for each in (one, other)]


def test_cable_may_move_to_the_other_input_after_a_long_silence() -> None:
    """30 s: see NV_SIDES_FORGET_S. Both had spoken before: the plug of a cable is loud."""
    plug = np.concatenate([silence(0.6), note(0.5, 0.5), silence(32.5)])
    feeds: list[int] = []
    first, second = np.concatenate([plug, silence(1)]), np.concatenate([plug, note(1, 0.5)])
    out = play(stereo(first, second), block=1024, feeds=feeds)
    assert feeds[40] == OWN and feeds[-1] == SECOND
    assert abs(level_db(out[-ms(500) :], 0) - level_db(out[-ms(500) :], 1)) < 0.1


def test_stereo_setting_leaves_both_sides_as_they_are() -> None:
    sound = stereo(note(1, 0.5), silence(1))
    out = play(sound, automatic_inputs=False)
    same(out, sound[: len(out)])


@pytest.mark.parametrize("make", [lambda: stereo(tone(1), tone(1, 0.3, 700.0))])
def test_mono_output_is_the_mean_of_both_sides(make: Callable[[], Floats]) -> None:
    sound = make()
    out = play(sound, automatic_inputs=False, mono_output=True)[ms(100) :]
    expected = sound[ms(100) : ms(100) + len(out)].mean(axis=1)
    np.testing.assert_allclose(out, np.stack([expected, expected], axis=1), atol=1e-6)
