"""Drawn rooms: reproducible, of every kind, within their documented ranges, with the given
decay.
"""

from __future__ import annotations

import re
from dataclasses import fields

import numpy as np
import pytest

from dsp.energymap import DEFAULT_GRID, FLOOR_DB
from models import generator, measures
from models.generator import RoomParameters
from models.kinds import KINDS


def test_draw_is_reproducible_for_a_seed() -> None:
    one, again, other = (generator.draw(50, seed) for seed in (3, 3, 4))
    for field in fields(RoomParameters):
        assert np.array_equal(getattr(one, field.name), getattr(again, field.name))
    assert not np.array_equal(one.decay_s, other.decay_s)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_draws_within_documented_ranges(kind: str) -> None:
    rooms = generator.draw(60, 1, kind)
    table = re.findall(
        r"\| (\w+) +\|[^|]*\| *(-?[\d.]+) \.\. (-?[\d.]+)", RoomParameters.__doc__ or ""
    )
    assert {name for name, *_ in table} == {field.name for field in fields(RoomParameters)}
    if kind != "knobs":  # the cube reaches a fifth beyond the knobs
        for name, low, high in table:
            values = getattr(rooms, name)
            # Normal distributions are not cut off, so some values are slightly out of range.
            slack = 0.25 * (float(high) - float(low))
            assert values.min() >= float(low) - slack and values.max() <= float(high) + slack, name
    level, direct = generator.energy_maps(rooms)
    assert np.isfinite(level).all() and np.isfinite(direct).all()
    energy = (measures.power(level) * DEFAULT_GRID.frame_s).sum(axis=(1, 2)) + measures.power(
        direct
    ).sum(axis=1)
    assert np.abs(10 * np.log10(energy)).max() < 0.01  # the energy of a room is 0 dB
    assert (level.max(axis=(1, 2)) - level.min(axis=(1, 2))).max() <= -FLOOR_DB + 1e-3


def test_kinds_differ_in_their_quantities() -> None:
    def middle(kind: str) -> np.ndarray:
        return np.median(
            measures.knobs(*generator.energy_maps(generator.draw(80, 2, kind))), axis=0
        )

    assert middle("cathedral")[0] > middle("hall")[0] > middle("studio")[0]
    assert middle("swelling")[2] > middle("plate")[2] > middle("outdoor slap")[2]
    assert middle("cathedral")[1] < middle("spring")[1]


@pytest.mark.parametrize("decay_s", [0.2, 1.0, 3.0])
def test_plain_decay_has_its_t60_in_every_band(decay_s: float) -> None:
    """T60 is the slope of exp(-ln(10^6) t / T60), in each band of a map that is only a decay."""
    rooms = generator.parameters(
        1,
        decay_s=decay_s,
        bass_ratio=1.0,
        treble_ratio=1.0,
        direct_db=-90.0,
        early_db=-60.0,
        onset_s=1e-4,
    )
    level = generator.energy_maps(rooms)[0][0]
    time = DEFAULT_GRID.frame_centre_s
    inside = (time > 0.05 * decay_s) & (time < 0.9 * min(decay_s, 4.0))
    for band in range(0, 64, 7):
        slope = np.polyfit(time[inside], level[band, inside], 1)[0]
        assert -60 / slope == pytest.approx(decay_s, rel=0.02)


def test_draw_rejects_unknown_kind_and_lists_known_ones() -> None:
    with pytest.raises(ValueError, match="cathedral"):
        generator.draw(1, 0, "igloo")
