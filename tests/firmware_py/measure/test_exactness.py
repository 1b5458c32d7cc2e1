"""Whole measurements of simulated loops: what comes out is the response that was put in."""

from __future__ import annotations

from firmware_py.bench.measure import exactness

MOST = {"dB": 0.5, "samples": 10.0}
"""The response itself is within 0.1 (tests/dsp/test_low_end.py); the decay that replaces the noise
costs this much in its lowest bands."""


def test_measured_responses_are_close_from_20_hz_on() -> None:
    """A wire, a room, and the room with a second clock."""
    found = list(exactness())
    assert len(found) == 6
    assert not [figure for figure in found if not figure.value <= MOST[figure.unit]]
