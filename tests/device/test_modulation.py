"""Sources of modulators: closed forms, bounds and statistics."""

import math
from itertools import pairwise
from statistics import fmean

import pytest

from device.controls import find
from device.modulation import (
    FALL_S,
    MODULATORS,
    RISE_S,
    SOURCES,
    TARGETS,
    WAVES,
    Envelope,
    Lfo,
)
from device.scenes import MORPHED

TABLE = [  # wave, phase in periods, value by the closed form
    ("sine", 0.0, 0.0),
    ("sine", 1 / 12, 0.5),
    ("sine", 0.25, 1.0),
    ("sine", 0.625, -math.sqrt(0.5)),
    ("sine", 7.75, -1.0),
    ("triangle", 0.0, 0.0),
    ("triangle", 0.125, 0.5),
    ("triangle", 0.25, 1.0),
    ("triangle", 0.5, 0.0),
    ("triangle", 0.75, -1.0),
    ("triangle", 3.9375, -0.25),
]


@pytest.mark.parametrize("parts", [1, 7])
@pytest.mark.parametrize(("wave", "phase", "value"), TABLE)
def test_waves_match_closed_forms_however_time_is_cut(
    wave: str, phase: float, value: float, parts: int
) -> None:
    lfo = Lfo(1)
    for _ in range(parts):
        lfo.advance(phase / parts)
    assert lfo.value(wave) == pytest.approx(value, abs=1e-9)


def test_random_holds_in_a_period_and_is_uniform_over_periods() -> None:
    lfo, held = Lfo(1), []
    for _ in range(2000):
        lfo.advance(0.25)
        first = lfo.value("random")
        lfo.advance(0.25)
        assert lfo.value("random") == first
        lfo.advance(0.5)
        held.append(first)
    assert all(a != b for a, b in pairwise(held))
    assert -1 <= min(held) < -0.95 and 0.95 < max(held) <= 1
    # Of a uniform distribution on -1..1: mean 0, variance 1/3; five deviations of 2000 draws.
    assert abs(fmean(held)) < 5 * math.sqrt(1 / 3 / 2000)
    assert fmean(v * v for v in held) == pytest.approx(1 / 3, abs=5 * math.sqrt(4 / 45 / 2000))


def test_walk_is_continuous_and_stays_within_its_bounds() -> None:
    lfo, path = Lfo(2), []
    for _ in range(50_000):
        path.append(lfo.value("walk"))
        lfo.advance(0.01)
    assert -1 <= min(path) < -0.9 and 0.9 < max(path) <= 1
    assert max(abs(b - a) for a, b in pairwise(path)) <= 0.01 + 1e-9  # at most 1 in a period


def test_oscillators_of_both_modulators_differ() -> None:
    one, two = (Lfo(number) for number in MODULATORS)
    for lfo in (one, two):
        lfo.advance(1.5)
    for wave in ("random", "walk"):
        assert one.value(wave) != two.value(wave)


@pytest.mark.parametrize(("db", "value"), [(-60, 0), (-50, 0), (-30, 0.5), (-10, 1), (0, 1)])
@pytest.mark.parametrize("step_s", [0.01, 0.05])
def test_envelope_follows_the_level_in_db_by_its_time_constants(
    db: float, value: float, step_s: float
) -> None:
    envelope, peak = Envelope(), 10 ** (db / 20)
    for _ in range(round(10 * RISE_S / step_s)):
        envelope.follow(peak, step_s)
    assert envelope.value == pytest.approx(value, abs=1e-4)
    for _ in range(round(FALL_S / step_s)):
        envelope.follow(0.0, step_s)
    assert envelope.value == pytest.approx(value / math.e, abs=1e-4)


def test_every_continuous_control_of_the_sound_can_be_modulated() -> None:
    """A new control that is missed here: append it to TARGETS, as presets keep numbers."""
    own = {name for name in MORPHED if name.startswith("mod")}
    assert set(TARGETS) == {*MORPHED, "morph"} - own and len(set(TARGETS)) == len(TARGETS)
    assert TARGETS[:5] == ("x", "y", "z", "mix", "morph")
    assert ("off", *WAVES, "input", "expression", "wheel") == SOURCES
    assert find("mod2_target").choices == TARGETS
