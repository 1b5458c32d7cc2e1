"""Builds banks of rooms. The same rooms give the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path

from bank.cluster import PROTOCOL, distribute
from bank.format import MAX_STEPS, BankError, Point, axis_points, encode_room, room_bytes, write
from bank.resume import FinishedParts, completed
from dsp.energymap import EnergyMap, Grid
from dsp.errors import InvalidValue
from models.container import parse
from models.decoder import Decoder
from models.files import require_space
from models.latent import LATENT_HIGH, LATENT_LOW
from models.residual import Residual

Progress = Callable[[int, int], None]
Room = Callable[[float, float, float], EnergyMap]

SLICE = 20
"""Rooms in a task: some tenths of a second of work."""


def build(
    path: Path,
    room: Room,
    *,
    steps: int = 10,
    name: str,
    low: float = LATENT_LOW,
    high: float = LATENT_HIGH,
    progress: Progress | None = None,
) -> None:
    """Write a bank of steps ** 3 rooms, evenly spaced from `low` to `high` on each axis.

    `progress(done, of)` is called after each room. Raises InvalidValue for steps outside 1 .. 64,
    OSError.
    """
    points = list(grid_points(steps, low, high))
    require_space(path, len(points) * room_bytes(Grid()))
    drawn = (room(*point) for point in points)
    _write(path, ((encode_room(one), one.grid) for one in drawn), steps, name, low, high, progress)


def build_from_model(
    path: Path,
    model: bytes,
    *,
    steps: int = 10,
    name: str,
    scheduler: str | None = None,
    encoded: Sequence[tuple[str, Residual]] = (),
    progress: Progress | None = None,
) -> None:
    """Write a bank of the rooms that a model file's decoder makes.

    `model`: the bytes of the file. The work runs on all cores, or on the workers of the Dask
    scheduler at `scheduler`. If that goes away, what is finished is kept beside `path`, and the
    same build goes on from there. `encoded`: rooms by name, which the bank plays around their
    places. Raises ModelError, BankError, InvalidValue, OSError; an existing bank stays unchanged
    then.
    """
    decoder = decoder_of(model)  # a bad model is rejected before the workers start
    points = list(grid_points(steps))
    require_space(path, steps**3 * room_bytes(Grid()))
    slices = [points[at : at + SLICE] for at in range(0, len(points), SLICE)]
    if scheduler is None:
        drawn = (room for some in distribute(_draw, model, slices) for room in some)
        _write(path, drawn, steps, name, LATENT_LOW, LATENT_HIGH, progress, encoded)
        return
    grid = decoder.energy_map(*points[0]).grid
    size = room_bytes(grid)

    def rest(first: int) -> Iterator[bytes]:
        for some in distribute(_draw, model, slices[first:], scheduler):
            yield b"".join(room for room, _ in some)

    key = hashlib.sha256(repr((PROTOCOL, steps, SLICE)).encode() + model).digest()
    with FinishedParts(path, key) as parts:
        drawn = (
            (part[at : at + size], grid)
            for _, part in completed(parts, len(slices), rest)
            for at in range(0, len(part), size)
        )
        _write(path, drawn, steps, name, LATENT_LOW, LATENT_HIGH, progress, encoded)


def grid_points(steps: int, low: float = LATENT_LOW, high: float = LATENT_HIGH) -> Iterator[Point]:
    """Points of a cubic grid, x slowest, z fastest. Raises InvalidValue for steps beyond 1 ..
    64.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise InvalidValue(f"a grid of {steps} steps: must be 1 to {MAX_STEPS}")
    axis = axis_points(steps, low, high)
    return product(axis, axis, axis)


@lru_cache(maxsize=1)
def decoder_of(model: bytes) -> Decoder:
    """The decoder of a model file, opened once in each process. Raises ModelError."""
    return Decoder.of(parse(model, "the model"), "the model")


def _draw(model: bytes, points: list[Point]) -> list[tuple[bytes, Grid]]:
    rooms = [decoder_of(model).energy_map(*point) for point in points]
    return [(encode_room(room), room.grid) for room in rooms]


def _write(
    path: Path,
    drawn: Iterable[tuple[bytes, Grid]],
    steps: int,
    name: str,
    low: float,
    high: float,
    progress: Progress | None,
    encoded: Sequence[tuple[str, Residual]] = (),
) -> None:
    rooms: list[bytes] = []
    grid: Grid | None = None
    for room, its_grid in drawn:
        if grid not in (None, its_grid):
            raise BankError(f"{path}: the rooms are on different grids")
        grid = its_grid
        rooms.append(room)
        if progress:
            progress(len(rooms), steps**3)
    write(
        path,
        name=name,
        rooms=rooms,
        steps=steps,
        low=low,
        high=high,
        grid=grid,
        residuals=encoded,
    )
