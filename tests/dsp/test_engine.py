"""The pyo graph with the engine, driven offline: each control compared with its closed form or
SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve, lfilter

from dsp._engine import PARAMS
from dsp.graph import OfflineGraph
from dsp.latefield import Decay, Seam, late_room

Floats = NDArray[np.float32]
RATE_HZ = 48000
NEUTRAL = {name: row.default for name, row in PARAMS.items()} | {
    "gain_db": 0.0,
    "mix": 1.0,
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
IMPULSE = np.eye(1, 1, dtype=np.float32)


def noise(frames: int, channels: int = 2, seed: int = 1) -> Floats:
    return (0.1 * np.random.default_rng(seed).standard_normal((frames, channels))).astype(
        np.float32
    )


def sine(frames: int, hz: float = 1000.0) -> Floats:
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(frames) / RATE_HZ)
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


def play(
    sound: Floats,
    ir: Floats,
    *,
    block: int = 64,
    before: Callable[[OfflineGraph, int], None] | None = None,
    max_taps: int | None = None,
    late: Floats | None = None,
    **params: float,
) -> Floats:
    """`sound` (frames, inputs) through the graph; `before(graph, block index)` is called before
    each block."""
    inputs = sound.shape[1]
    graph = OfflineGraph(
        rate_hz=RATE_HZ,
        block_frames=block,
        max_taps=max_taps or ir.shape[1],
        inputs=inputs,
        ir_channels=4 if inputs == 2 else 2,
    )
    set_params(graph, **params)
    graph.port.load_ir(ir, late=late)
    graph.start()
    assert len(sound) % block == 0
    out = np.zeros((len(sound), 2), np.float32)
    for index, at in enumerate(range(0, len(sound), block)):
        if before:
            before(graph, index)
        out[at : at + block] = graph.process(sound[at : at + block])
    graph.close()
    return out


def set_params(graph: OfflineGraph, **params: float) -> None:
    graph.port.set_params(NEUTRAL | params)


def error_db(got: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Largest difference, in dB of the expected signal's peak."""
    return float(20 * np.log10(np.abs(got - expected).max() / np.abs(expected).max() + 1e-30))


def roughness(signal: Floats, hz: float = 1000.0) -> NDArray[np.float64]:
    """Residual of a steady sine after a filter with zeros at its frequency: large for a click,
    small for a slow change."""
    x = signal[:, 0].astype(np.float64)
    return np.abs(x[2:] - 2 * np.cos(2 * np.pi * hz / RATE_HZ) * x[1:-1] + x[:-2])


@pytest.mark.parametrize("block", [16, 64, 128, 1024])
@pytest.mark.parametrize("inputs", [1, 2])
def test_wet_signal_is_convolution_without_latency(block: int, inputs: int) -> None:
    sound, ir = noise(8192, inputs), noise(3000, 2, seed=2).T.copy()
    out = play(sound, ir, block=block)
    expected = np.stack(
        [
            fftconvolve(sound[:, c % inputs].astype(float), ir[c].astype(float))[: len(sound)]
            for c in range(2)
        ],
        axis=1,
    )
    assert error_db(out, expected) < -110


def test_four_channel_ir_is_true_stereo() -> None:
    sound, ir = noise(8192), noise(1500, 4, seed=3).T.copy()
    out = play(sound, ir)
    path = [
        [
            fftconvolve(sound[:, i].astype(float), ir[2 * i + o].astype(float))[: len(sound)]
            for o in range(2)
        ]
        for i in range(2)
    ]
    expected = np.stack([path[0][0] + path[1][0], path[0][1] + path[1][1]], axis=1)
    assert error_db(out, expected) < -110


MIX_LAWS: list[Callable[[float], tuple[float, float]]] = [
    lambda mix: (min(1, 2 - 2 * mix), min(1, 2 * mix)),
    lambda mix: (math.cos(math.pi / 2 * mix), math.sin(math.pi / 2 * mix)),
    lambda mix: (1 - mix, mix),
]


@pytest.mark.parametrize("law", range(3))
@pytest.mark.parametrize(
    ("gain_db", "mix"), [(0, 0), (-6, 0.25), (0, 0.5), (3, 0.8), (12, 1), (-140, 0.5)]
)
def test_gain_and_mix(gain_db: float, mix: float, law: int) -> None:
    """dry = gain * in; out = dry and wet with the gains of the law: dry at unity up to the middle,
    equal power, and the reference plug-in's linear one. -140 dB is silence."""
    sound, ir = noise(4096), noise(500, 2, seed=2).T.copy()
    gain = 0.0 if gain_db <= -140 else 10 ** (gain_db / 20)
    dry = gain * sound.astype(float)
    wet = np.stack(
        [fftconvolve(dry[:, c], ir[c].astype(float))[: len(sound)] for c in range(2)], axis=1
    )
    dry_gain, wet_gain = MIX_LAWS[law](mix)
    out = play(sound, ir, gain_db=gain_db, mix=mix, mix_law=law)
    expected = dry_gain * dry + wet_gain * wet
    if gain == 0:
        assert not out.any()
    else:
        assert error_db(out, expected) < -110


def biquad(highpass: bool, cutoff_hz: float) -> tuple[list[float], list[float]]:
    """Bristow-Johnson's cookbook, Q = 1/sqrt(2); a second implementation."""
    w = 2 * np.pi * cutoff_hz / RATE_HZ
    c, alpha = np.cos(w), np.sin(w) / np.sqrt(2)
    b = [(1 + c) / 2, -(1 + c), (1 + c) / 2] if highpass else [(1 - c) / 2, 1 - c, (1 - c) / 2]
    return [v / (1 + alpha) for v in b], [1, -2 * c / (1 + alpha), (1 - alpha) / (1 + alpha)]


@pytest.mark.parametrize(
    ("kind", "cutoff_hz"),
    [
        ("lowpass", 500.0),
        ("lowpass", 5000.0),
        ("lowpass", 20000.0),
        ("highpass", 20.0),
        ("highpass", 500.0),
        ("highpass", 5000.0),
    ],
)
def test_filters_match_cookbook(kind: str, cutoff_hz: float) -> None:
    sound = noise(48000 // 64 * 64)
    out = play(sound, IMPULSE.repeat(2, 0), **{f"{kind}_on": 1.0, f"{kind}_hz": cutoff_hz})
    b, a = biquad(kind == "highpass", cutoff_hz)
    assert error_db(out, lfilter(b, a, sound.astype(float), axis=0)) < -110


def test_filters_do_not_change_dry_signal() -> None:
    sound = noise(4096)
    out = play(sound, IMPULSE.repeat(2, 0), mix=0, lowpass_on=1, lowpass_hz=500)
    assert error_db(out, sound) < -110


@pytest.mark.parametrize("frames", [0, 1, 480, 4800])
def test_whole_frame_predelays_are_exact(frames: int) -> None:
    sound = noise(9600)
    out = play(sound, IMPULSE.repeat(2, 0), predelay_ms=1000 * frames / RATE_HZ)
    expected = np.concatenate([np.zeros((frames, 2), np.float32), sound])[: len(sound)]
    assert error_db(out, expected) < -110


def test_fractional_predelay_delays_a_sine_by_its_fraction() -> None:
    """Third-order Lagrange: within -60 dB at 1 kHz (Laakso et al. 1996, fig. 12 allows for much
    more)."""
    frames, delay = 9600, 100.37
    out = play(sine(frames), IMPULSE.repeat(2, 0), predelay_ms=1000 * delay / RATE_HZ)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * (np.arange(frames) - delay) / RATE_HZ)
    assert error_db(out[2000:, 0], expected[2000:]) < -60


def test_bypass_passes_input_unchanged() -> None:
    sound = noise(4096)
    assert error_db(play(sound, noise(500).T.copy(), bypass=1, gain_db=-20, mix=1), sound) < -110


@pytest.mark.parametrize("trails", [0.0, 1.0])
def test_trails_select_ringing_or_cut_tail(trails: float) -> None:
    sound = np.zeros((19200, 2), np.float32)
    sound[:4800] = noise(4800)
    decay = np.exp(-np.arange(12000) / 4000).astype(np.float32)
    ir = noise(12000).T * decay

    def press(graph: OfflineGraph, index: int) -> None:
        if index == 75:
            set_params(graph, bypass=1.0, trails=trails)

    out = play(sound, np.ascontiguousarray(ir), before=press)
    expected = fftconvolve(sound[:, 0].astype(float), ir[0].astype(float))[:19200]
    late = slice(4800 + 1500, 12000)  # after the 20 ms ramp
    if trails:
        assert error_db(out[late, 0], expected[late]) < -100
    else:
        assert not out[late].any()


MOVES = {
    "gain": ({}, {"gain_db": -140.0}),
    "mix": ({"mix": 1.0}, {"mix": 0.0}),
    "mix law": ({"mix": 0.5, "mix_law": 0.0}, {"mix": 0.5, "mix_law": 2.0}),
    "lowpass switch": ({"lowpass_hz": 500.0}, {"lowpass_on": 1.0, "lowpass_hz": 500.0}),
    "lowpass sweep": ({"lowpass_on": 1.0}, {"lowpass_on": 1.0, "lowpass_hz": 500.0}),
    "highpass sweep": ({"highpass_on": 1.0}, {"highpass_on": 1.0, "highpass_hz": 5000.0}),
    "pre-delay": ({}, {"predelay_ms": 100.0}),
    "bypass": ({}, {"bypass": 1.0}),
    "hard bypass": ({}, {"bypass": 1.0, "trails": 0.0}),
    "duck": ({}, {"duck_db": 24.0}),
    "gate": ({"gate_release_ms": 5.0}, {"gate_on": 1.0, "gate_db": -3.0, "gate_hold_ms": 0.0}),
    "tone": ({"tone_low_db": -12.0}, {"tone_low_db": 12.0, "tone_high_db": 12.0}),
    "level": ({}, {"level_db": -40.0}),
    "kill dry": ({"mix": 0.0}, {"mix": 0.0, "kill_dry": 1.0}),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("block", [16, 128, 1024])
def test_no_control_clicks(name: str, block: int) -> None:
    """A 1 kHz sine while a control jumps across its range: no more roughness than a 20 ms ramp of
    full height.

    A raised-cosine or linear ramp of N frames bends by at most (pi / N)^2 / 2 or 1 / N of the
    amplitude in one frame; 3 / N bounds both, with a factor for the sine's own slope. A hard switch
    of the same change has 0.1 or more.
    """
    start, end = MOVES[name]
    ramp_frames = 0.02 * RATE_HZ

    def move(graph: OfflineGraph, index: int) -> None:
        if index == 24 * 1024 // block:
            set_params(graph, **end)
        if index == 60 * 1024 // block:
            set_params(graph, **start)

    out = play(sine(96 * 1024), IMPULSE.repeat(2, 0), block=block, before=move, **start)
    assert roughness(out[4096:]).max() < 3 / ramp_frames


def test_nonfinite_input_becomes_silence() -> None:
    sound = noise(19200)
    broken = sound.copy()
    broken[1000, 0], broken[1001, 1], broken[1002, 0] = np.nan, np.inf, -np.inf
    clean = sound.copy()
    clean[1000, 0] = clean[1001, 1] = clean[1002, 0] = 0
    ir = noise(3000).T.copy()
    counts = []
    out = play(
        broken,
        ir,
        mix=1,
        before=lambda graph, _: counts.append(graph.port.meters().nonfinite_samples),
    )
    assert np.isfinite(out).all()
    assert error_db(out, play(clean, ir, mix=1)) < -110
    assert counts[-1] == 3


def test_limiter_limits_to_full_scale_and_is_transparent_below() -> None:
    loud = sine(48000 // 64 * 64) * 4
    out = play(loud, IMPULSE.repeat(2, 0), mix=0, limiter_on=1)
    assert np.abs(out).max() <= 1.0 + 1e-6
    assert np.abs(out[-4800:]).max() > 0.98
    quiet = sine(4096)
    np.testing.assert_array_equal(
        play(quiet, IMPULSE.repeat(2, 0), mix=0, limiter_on=1),
        play(quiet, IMPULSE.repeat(2, 0), mix=0),
    )


def test_ir_change_crossfades_and_latest_wins() -> None:
    """IRs are impulses of different height, so that the output's level shows which one plays."""
    levels: list[float] = []
    sound = np.full((48000 // 64 * 64, 2), 0.5, np.float32)

    def change(graph: OfflineGraph, index: int) -> None:
        if 100 <= index < 140:  # more than there is time for: the last one must play
            graph.port.load_ir(np.full((2, 1), 0.01 * (index - 99), np.float32))
        levels.append(float(graph.port.meters().playing_serial))

    out = play(sound, IMPULSE.repeat(2, 0), before=change)
    assert levels[-1] == 41  # the newest serial: the first IR and forty more
    assert len(set(levels)) < 20
    np.testing.assert_allclose(out[-64:], 0.5 * 0.40, rtol=1e-5)
    assert np.abs(np.diff(out[:, 0])).max() < 0.5 * 4 / (0.02 * RATE_HZ)


ROUGH = {  # each parameter matters here: filters on, into the limiter, a change of IR and a bypass
    "gain_db": 20.0,
    "mix": 0.6,
    "mix_law": 2.0,
    "predelay_ms": 3.0,
    "lowpass_on": 1.0,
    "lowpass_hz": 3000.0,
    "highpass_on": 1.0,
    "highpass_hz": 200.0,
    "bypass": 0.0,
    "trails": 1.0,
    "limiter_on": 1.0,
    "fade_ms": 20.0,
    "tails": 0.0,
    "duck_db": 12.0,
    "duck_release_ms": 100.0,
    "gate_on": 1.0,
    "gate_db": -40.0,
    "gate_hold_ms": 0.0,
    "gate_release_ms": 5.0,
    "movement": 0.5,
    "shimmer": 0.5,
}


@pytest.mark.parametrize("name", PARAMS)
def test_every_parameter_changes_the_sound(name: str) -> None:
    sound, irs = noise(16384), [noise(2000, 2, seed=seed).T.copy() for seed in (2, 3)]
    sound[2048:10240] *= 0.003  # a pause, for the gate and the duck
    late = late_room(Decay(np.array([20.0, 20e3]), np.full(2, 60.0)), Seam.of(RATE_HZ, 2000))

    def played(**changed: float) -> Floats:
        params = ROUGH | {"hold": float(name == "hold_mode")} | changed

        def before(graph: OfflineGraph, block: int) -> None:
            if block == 64:
                graph.port.load_ir(irs[1], late=late)
            if block == 192 and name != "bypass":
                graph.port.set_params(NEUTRAL | params | {"bypass": 1.0})

        return play(sound, irs[0], before=before, late=late, **params)

    row = PARAMS[name]
    ends = [played(**{name: value}) for value in (row.lowest, row.highest)]
    assert np.abs(ends[0] - ends[1]).max() > 1e-3


@pytest.mark.parametrize("tails", ["keep", "follow", "cut"])
def test_tails_keep_follow_or_cut_what_rings(tails: str) -> None:
    """The input stops before the room changes: only the old room's tail sounds then."""
    sound = np.zeros((38400, 2), np.float32)
    sound[:4800] = noise(4800)
    decay = np.exp(-np.arange(24000) / 8000).astype(np.float32)
    old, new = (np.ascontiguousarray(noise(24000, 2, seed).T * decay) for seed in (2, 3))

    def change(graph: OfflineGraph, index: int) -> None:
        if index == 110:
            graph.port.load_ir(new)

    out = play(sound, old, before=change, tails={"keep": 0.0, "follow": 1.0, "cut": 2.0}[tails])
    late = slice(7040 + 4800, 20000)
    expected = {
        room: fftconvolve(sound[:, 0].astype(float), ir[0].astype(float))[: len(sound)][late]
        for room, ir in (("keep", old), ("follow", new))
    }
    if tails == "cut":
        assert np.abs(out[late]).max() < 1e-7
    else:
        assert error_db(out[late, 0], expected[tails]) < -110
