"""The halves of 14-bit values, against the values that a simulated controller is at."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_py.control.midi_messages import HALF_S, Halves

FULL = 127 << 7


def heard(values: list[int], *, low_first: bool, sparing: bool, gap_s: float) -> list[int]:
    """What is heard of a controller that is at `values`, one after another.

    sparing: it sends the upper half only if it has changed. gap_s: between two messages.
    """
    halves, now, out, before = Halves(), 0.0, [], None
    for value in values:
        high, low = value >> 7, value & 127
        messages = [("high", high), ("low", low)]
        if low_first:
            messages.reverse()
        if sparing and before == high:
            messages = [("low", low)]
        before = high
        for kind, half in messages:
            due = halves.due(now)
            found = halves.high(half, now) if kind == "high" else halves.low(half, now)
            out += [value for value in (due, found) if value is not None]
            now += gap_s
    now += 1
    due = halves.due(now)
    return out + ([] if due is None else [due])


@given(
    st.lists(st.integers(0, FULL), min_size=3, max_size=40),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.001, 0.01]),
)
def test_value_never_steps_back_and_ends_exactly(
    values: list[int], rising: bool, low_first: bool, sparing: bool, gap_s: float
) -> None:
    values.sort(reverse=not rising)
    out = heard(values, low_first=low_first, sparing=sparing, gap_s=gap_s)
    assert out[-1] == values[-1]
    pairs = itertools.pairwise(out)
    # The first lower half shows that there are fourteen bits and in which order they come.
    wrong = [(a, b) for a, b in pairs if (b < a if rising else b > a)]
    assert all(abs(a - b) < 128 and a == out[0] for a, b in wrong), out


def test_each_half_by_itself_rises_steadily() -> None:
    """Halves a second apart, upper half first."""
    halves, now, out = Halves(), 0.0, []
    sent = [(0x64, 0), (0x64, 0x40), (0x64, 0x7F), (0x65, 0), (0x7F, 0)]
    for high, low in sent:
        for kind, value in ((halves.high, high), (halves.low, low)):
            now += 1
            out.append(kind(value, now))
            out.append(halves.due(now + HALF_S))
    found = [value for value in out if value is not None]
    assert found == sorted(found) and found[-1] == FULL
    assert set(found) >= {high << 7 | low for high, low in sent}


@pytest.mark.parametrize("value", [0, 1, 64, 127])
def test_controller_of_seven_bits_has_one_value_for_each_message(value: int) -> None:
    halves = Halves()
    assert halves.high(value, 0.0) == value << 7
    assert halves.due(1.0) is None and not halves.is_wide


def test_upper_half_alone_counts_with_a_lower_half_of_0() -> None:
    halves = Halves()
    halves.high(100, 0.0)
    halves.low(50, 0.001)
    assert halves.high(90, 1.0) == 90 << 7 | 127  # on the way down
    assert halves.due(1.0 + HALF_S) == 90 << 7


def test_order_is_learnt_again_where_listening_began_in_the_middle_of_a_value() -> None:
    """Lower half first, but the first message heard is an upper half."""
    halves = Halves()
    halves.high(1, 0.0)
    halves.low(5, 0.001)
    for start, high, low in ((1.0, 2, 6), (2.0, 3, 7)):
        halves.low(low, start)
        value = halves.high(high, start + 0.001)
        value = halves.due(start + 0.5) or value
        assert value == high << 7 | low
