"""The tempo of a simulated MIDI clock with jitter, drop-outs and changes of tempo."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pytest

from firmware_py.control.midi_backend import TICK_S, clock_record
from firmware_py.control.midi_clock import PAUSE_S, TICKS, MidiClock

JITTER_S = 0.003


class Found(NamedTuple):
    beat: float
    """Since this tempo began."""
    wanted: float
    bpm: float


class Sender:
    """Sends ticks at given tempi, each up to `jitter_s` early or late; `lost` picks some that do
    not arrive."""

    def __init__(self, seed: int = 1, jitter_s: float = JITTER_S) -> None:
        self._random, self._jitter_s = random.Random(seed), jitter_s
        self.clock, self.now_s = MidiClock(), 100.0

    def play(
        self, bpm: float, beats: int, lost: Callable[[int], bool] = lambda _: False, port: int = 1
    ) -> list[Found]:
        found = []
        for number in range(beats * TICKS):
            self.now_s += 60 / bpm / TICKS
            if lost(number):
                continue
            came_s = self.now_s + self._random.uniform(-self._jitter_s, self._jitter_s)
            record = clock_record(came_s)
            assert record[0] == 0xF8
            new = self.clock.tick(port, record[1] << 8 | record[2], came_s)
            if new is not None:
                found.append(Found((number + 1) / TICKS, bpm, new))
        return found


def worst(found: Iterable[Found], after_beats: float = 4) -> float:
    errors = [abs(each.bpm - each.wanted) for each in found if each.beat > after_beats]
    assert errors
    return max(errors)


@pytest.mark.parametrize("bpm", [30, 60, 96.5, 120, 174, 240, 300])
def test_settles_within_half_a_bpm_in_four_beats(bpm: float) -> None:
    """Under 3 ms of jitter: with each of 40 seeds, from the fifth beat on."""
    assert max(worst(Sender(seed).play(bpm, 16)) for seed in range(40)) < 0.5


@pytest.mark.parametrize(
    ("before", "after"), [(120, 60), (60, 120), (120, 124), (140, 90), (90, 140), (40, 240)]
)
def test_follows_a_new_tempo_within_four_beats(before: float, after: float) -> None:
    """Also a clock at half the tempo, which looks as if every other tick were lost."""
    for seed in range(20):
        sender = Sender(seed)
        sender.play(before, 10)
        assert worst(sender.play(after, 12)) < 0.5


def test_holds_through_lost_ticks_and_gaps() -> None:
    """Every 13th tick, and half a second, are lost: no beat differs by more than 0.5 BPM."""
    for seed in range(20):
        sender = Sender(seed)
        sender.play(120, 8)
        found = sender.play(120, 24, lost=lambda n: n % 13 == 5 or 200 <= n < 224)
        assert worst(found, after_beats=0) < 0.5


def test_a_pause_holds_the_tempo_and_the_next_clock_counts_anew() -> None:
    sender = Sender()
    found = sender.play(120, 8)
    assert "clock 120" in sender.clock.describe(sender.now_s)
    sender.now_s += 10 * PAUSE_S
    assert sender.clock.describe(sender.now_s) == ""
    assert sender.clock.bpm == found[-1].bpm
    assert worst(sender.play(87, 8)) < 0.5


def test_one_clock_of_two_is_followed_until_it_stops() -> None:
    sender = Sender(jitter_s=0)
    sender.play(120, 4)
    for _ in range(200):  # another clock between the ticks
        sender.now_s += 60 / 120 / TICKS
        assert (
            sender.clock.tick(2, int((sender.now_s - 0.01) / TICK_S) & 0xFFFF, sender.now_s) is None
        )
        stamp = int(sender.now_s / TICK_S) & 0xFFFF
        sender.clock.tick(1, stamp, sender.now_s)
    assert sender.clock.bpm == pytest.approx(120, abs=0.1)
    sender.now_s += PAUSE_S
    assert worst(sender.play(90, 8, port=2)) < 0.5
