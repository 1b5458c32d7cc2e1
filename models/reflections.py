"""The single reflections of rooms on the knobs: X is their size, Z how soon they become dense."""

from __future__ import annotations

from dataclasses import replace

from dsp.energymap import EnergyMap
from dsp.reflections import draw_taps
from models.latent import LATENT_HIGH, LATENT_LOW
from models.reference import GRID as PLUGIN_GRID

SPARSE_S, DENSE_S = 0.070, 0.0025
"""Mixing time at the lowest and at the highest Z, of a room of medium size."""
SIZE_OCTAVES = 0.1
"""Reflections come later by this, per unit of X (a factor of 2.2 in decay time)."""


def with_reflections(room: EnergyMap, x: float, z: float) -> EnergyMap:
    """The room at x and z with drawn reflections, beyond the cube those of its ends.

    Unchanged if it has its own, and if it is one of the plug-in's, which has none.
    """
    if room.taps is not None or room.grid == PLUGIN_GRID:
        return room
    x, z = (min(max(value, LATENT_LOW), LATENT_HIGH) for value in (x, z))
    size = 2.0 ** (SIZE_OCTAVES * x)
    share = (z - LATENT_LOW) / (LATENT_HIGH - LATENT_LOW)
    mixing_s = SPARSE_S * (DENSE_S / SPARSE_S) ** share
    return replace(room, taps=draw_taps(mixing_s * size, size))
