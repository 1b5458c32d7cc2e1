"""Taps and notes: the tempo by its median, the pre-delay by its closed form."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.controls import NOTE_BEATS, NOTES, defaults, find, parse
from device.tempo import TapTempo, predelay_ms


def tapped(*times: float) -> float | None:
    tempo = TapTempo()
    found = None
    for time in times:
        found = tempo.tap(time)
    return found


@given(st.lists(st.floats(0.2, 1.9), min_size=1, max_size=12))
def test_tempo_is_the_median_of_the_last_four_times(steps: list[float]) -> None:
    times = [sum(steps[:n]) for n in range(len(steps) + 1)]
    last = [b - a for a, b in pairwise(times)][-4:]
    wanted = min(max(60 / median(last), 30), 300)
    assert tapped(*times) == pytest.approx(wanted)


def test_one_bad_tap_changes_little() -> None:
    assert tapped(0, 0.5, 1.0, 1.7, 2.2) == pytest.approx(120)


def test_a_pause_starts_again_and_the_range_holds() -> None:
    assert tapped(0.0) is None
    assert tapped(0.0, 0.5, 10.0) is None
    assert tapped(0.0, 0.5, 10.0, 10.25) == pytest.approx(240)
    assert tapped(0.0, 2.0) == pytest.approx(30)
    assert tapped(0.0, 2.4) == pytest.approx(30)  # a hesitation at the slowest tempo
    assert tapped(0.0, 0.01) == 300


def synced_ms(note: str, bpm: float) -> float:
    sync = parse(find("predelay_sync"), note)
    return predelay_ms(defaults() | {"predelay": 7.0, "predelay_sync": sync, "tempo": bpm})


@pytest.mark.parametrize(
    ("note", "bpm", "ms"),
    [
        ("free", 120, 7),
        ("1/4", 120, 500),
        ("1/8", 120, 250),
        ("1/8d", 120, 375),
        ("1/4t", 120, 1000 / 3),
        ("1/32t", 300, 16 + 2 / 3),
        ("1/1", 120, 2000),
        ("1/1", 30, 2000),
        ("1/1d", 30, 1500),
        ("1/2", 100, 1200),
    ],
)
def test_predelay_is_the_note_halved_until_it_fits(note: str, bpm: float, ms: float) -> None:
    assert synced_ms(note, bpm) == pytest.approx(ms)


@given(st.sampled_from(NOTES), st.floats(30, 300))
def test_every_note_fits_at_every_tempo(note: str, bpm: float) -> None:
    assert 0 < synced_ms(note, bpm) <= find("predelay").maximum


def test_a_knob_turns_through_the_notes_by_length() -> None:
    assert len(NOTES) == 19
    assert list(NOTE_BEATS.values()) == sorted(NOTE_BEATS.values())
    assert {"1/1", "1/32", "1/8d", "1/16t"} < set(NOTES)
