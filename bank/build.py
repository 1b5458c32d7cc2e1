"""Drawing a bank: the same bytes each time from the same rooms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bank.format import MAX_STEPS, encode_room, write
from dsp.energymap import EnergyMap


def build(
    path: Path,
    room: Callable[[float, float, float], EnergyMap],
    *,
    steps: int = 10,
    name: str,
    low: float = -2.0,
    high: float = 2.0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes steps ** 3 rooms, evenly spaced on three axes from `low` to `high`. `progress(done, of)` is called for each.

    Raises ValueError for steps beyond 1 .. 64, OSError.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"a grid of {steps} steps: from 1 to {MAX_STEPS}")
    axis = np.linspace(low, high, steps) if steps > 1 else np.array([(low + high) / 2])
    rooms = []
    grid = None
    for x in axis:
        for y in axis:
            for z in axis:
                drawn = room(float(x), float(y), float(z))
                grid = drawn.grid
                rooms.append(encode_room(drawn))
                if progress:
                    progress(len(rooms), steps**3)
    write(path, name=name, rooms=rooms, steps=steps, low=low, high=high, grid=grid)
