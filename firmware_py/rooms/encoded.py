"""Encoded rooms in a source of rooms: near its place each has its residual (models.residual)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dsp.energymap import EnergyMap
from models.latent import knob_of
from models.residual import Gains, Residual, gains, longest_needed_s, place_of, strength

KEPT = 4
"""Gains in memory: about 40 kB each."""
LEAST_REACH = 0.01


class EncodedRooms:
    """The residuals of a source, and what they change of its rooms."""

    def __init__(self, residuals: Sequence[Residual], longest_s: float) -> None:
        """`longest_s`: of the engine's IRs."""
        self._residuals, self._longest_s = residuals, longest_s
        self._places = [tuple(knob_of(value) for value in place_of(each)) for each in residuals]
        self._gains: dict[int, Gains] = {}

    def __bool__(self) -> bool:
        return bool(self._residuals)

    def change(
        self, room: EnergyMap, values: dict[str, float], base: Callable[[Residual], EnergyMap]
    ) -> EnergyMap:
        """The room at the values of the controls, with the residuals of the places around.

        `base`: the source's room at a residual's place.
        """
        reach = values["residual"]
        point = (values["x"], values["y"], values["z"])
        for number, place in enumerate(self._places):
            away = math.dist(point, place)
            if away < reach and away < (mine := min(reach, self._room_for(number))):
                room = self._gains_of(number, base).apply(room, strength(away, mine))
        return room

    def _room_for(self, number: int) -> float:
        """The distance to the nearest other place: there, this residual has no part."""
        here = self._places[number]
        others = (math.dist(here, at) for i, at in enumerate(self._places) if i != number)
        return max(min(others, default=math.inf), LEAST_REACH)

    def _gains_of(self, number: int, base: Callable[[Residual], EnergyMap]) -> Gains:
        found = self._gains.pop(number, None)
        if found is None:
            residual = self._residuals[number]
            room = base(residual)
            ends = [each.end_s for each in self._residuals]
            found = gains(residual, room, longest_needed_s(ends, room.grid, self._longest_s))
        self._gains[number] = found
        while len(self._gains) > KEPT:
            del self._gains[next(iter(self._gains))]
        return found
