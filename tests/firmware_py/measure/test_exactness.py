"""Whole measurements of simulated loops: what comes out is the response that was put in."""

from __future__ import annotations

from firmware_py.bench.measure import exactness, memory


def test_measured_responses_are_close_from_20_hz_on() -> None:
    """A wire, a room, and the room with a second clock: 0.1 dB and a phase delay of 0.1 samples."""
    found = list(exactness())
    assert len(found) == 6
    assert not [figure for figure in found if not figure.value <= 0.1]


def test_measurement_fits_beside_the_pedal() -> None:
    """A sweep of 12 s: 60 MiB at the peak, Python and NumPy and all."""
    assert 20 < memory().value <= 60
