"""Measures whether X, Y and Z control their quantities.

Rank correlation of each axis with its quantity along random lines through the knobs' cube.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import measures
from models.decoder import Decoder
from models.latent import KNOBS, LATENT_HIGH, LATENT_LOW

LINES, POINTS = 40, 16
SHORTEST = 1.0
"""A line counts for an axis if it runs at least this far along it (the cube is 4 wide)."""

QUANTITIES = ("X: decay time", "Y: brightness", "Z: early character")


@dataclass(frozen=True)
class Axes:
    """Spearman's rank correlation of each axis with its quantity, float64 (3,).

    `mean` and `worst` over the lines.
    """

    mean: NDArray[np.float64]
    worst: NDArray[np.float64]


def measure(decoder: Decoder, seed: int = 0) -> Axes:
    """Decode points on LINES random lines and measure the rooms with `models.measures.knobs`.

    All colours are 0.
    """
    random = np.random.default_rng(seed)
    found: list[list[float]] = [[] for _ in range(KNOBS)]
    for _ in range(LINES):
        begin, end = random.uniform(LATENT_LOW, LATENT_HIGH, (2, KNOBS))
        points = begin + (end - begin) * np.linspace(0.0, 1.0, POINTS)[:, None]
        rooms = [
            decoder.energy_map(float(point[0]), float(point[1]), float(point[2]))
            for point in points
        ]
        packed = np.concatenate([measures.pack_map(room) for room in rooms])
        quantities = measures.knobs(*measures.unpack(packed))
        for axis in range(KNOBS):
            if abs(end[axis] - begin[axis]) >= SHORTEST:
                found[axis].append(spearman(points[:, axis], quantities[:, axis]))
    return Axes(
        np.array([np.mean(each) for each in found]), np.array([np.min(each) for each in found])
    )


def spearman(
    a: NDArray[np.float64] | NDArray[np.float32], b: NDArray[np.float64] | NDArray[np.float32]
) -> float:
    """Rank correlation of two sequences (n,) without ties."""
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
