"""Places of recordings as people read and write them: values of the knobs x, y and z, 0 to 9.

In a bank a place is a point of latent space, -2 to 2 on each axis (models.latent).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from bank.format import BankError, Point
from models.latent import KNOB_STEPS, LATENT_HIGH, LATENT_LOW, latent_of
from models.reading import read_file

COORDINATES = "coordinates.csv"
MAX_CSV_BYTES = 16 << 20
HAND = 0.2
"""No hand sets a knob finer than this, 2 % of its travel."""
NAMED_PAIRS = 10


def knobs_of(at: Point) -> Point:
    """The knobs' values for a point, also beyond their ends: the inverse of `point_of`."""
    x, y, z = ((value - LATENT_LOW) / (LATENT_HIGH - LATENT_LOW) * KNOB_STEPS + 0.0 for value in at)
    return x, y, z


def point_of(knobs: Point) -> Point:
    """The point of latent space for values of the knobs."""
    x, y, z = (latent_of(value) for value in knobs)
    return x, y, z


def text_of(at: Point) -> str:
    """A point in words: `x 4.50  y 3.00  z 9.00`."""
    return "  ".join(f"{name} {value:.2f}" for name, value in zip("xyz", knobs_of(at), strict=True))


def read_places(path: Path, report: Callable[[str], None]) -> dict[str, Point]:
    """The points of a CSV file with lines of name,x,y,z in values of the knobs.

    nverb up to 0.2 wrote points of latent space: a file with a negative value is read as such,
    which is reported. Raises BankError with the line, OSError.
    """
    rows: list[tuple[int, str, Point]] = []
    # Spreadsheets begin UTF-8 with a byte order mark. Names that are not UTF-8 keep their bytes.
    text = read_file(path, MAX_CSV_BYTES).decode("utf-8-sig", "surrogateescape")
    with io.StringIO(text, newline="") as file:
        for number, row in enumerate(_rows(file, path), 1):
            if not row or row[:1] == ["name"]:
                continue
            try:
                name, x, y, z = row
                rows.append((number, name, (float(x), float(y), float(z))))
            except ValueError as error:
                raise BankError(f"{path}, line {number}: {error}; write name,x,y,z") from None
    values = [value for _, _, place in rows for value in place]
    is_old = min(values, default=0.0) < 0 and all(abs(value) <= LATENT_HIGH for value in values)
    if is_old:
        report(
            f"{path}: read as a file of nverb 0.2, with axes of {LATENT_LOW:g} to {LATENT_HIGH:g}, "
            "because a value is negative; now the knobs' values are written, 0 to 9"
        )
    for number, name, place in rows:
        for value in () if is_old else place:
            if not 0 <= value <= KNOB_STEPS:  # also NaN
                raise BankError(
                    f"{path}, line {number}: {name} at {value:g}: the knobs run from 0 to "
                    f"{KNOB_STEPS:g}; write name,x,y,z"
                )
    return {name: place if is_old else point_of(place) for _, name, place in rows}


def _rows(file: TextIO, path: Path) -> Iterator[list[str]]:
    try:
        yield from csv.reader(file)
    except csv.Error as error:
        raise BankError(f"{path}: is not a CSV file ({error}); write lines of name,x,y,z") from None


def to_csv(places: Iterable[tuple[str, Point]]) -> bytes:
    """The content of a CSV file that `read_places` reads: places beyond the knobs are at their
    ends."""
    table = io.StringIO(newline="")
    rows = [
        (name, *(f"{min(max(value, 0.0), KNOB_STEPS):.4f}" for value in knobs_of(at)))
        for name, at in places
    ]
    csv.writer(table).writerows([("name", "x", "y", "z"), *rows])
    return table.getvalue().encode(errors="surrogateescape")


def neighbours(places: Sequence[tuple[str, Point]]) -> list[str]:
    """A line for each pair of places that a hand cannot tell apart, and what to do about it."""
    at = np.array([knobs_of(place) for _, place in places])
    found = []
    for number, (name, _) in enumerate(places):
        apart = np.abs(at[number + 1 :] - at[number]).max(axis=1, initial=0.0)
        for other in np.flatnonzero(apart < HAND):
            found.append((name, places[number + 1 + int(other)][0], float(apart[other])))
    found.sort(key=lambda pair: pair[2])
    lines = [
        f"{one} and {two} are {apart:.2f} of a knob apart"
        for one, two, apart in found[:NAMED_PAIRS]
    ]
    if len(found) > NAMED_PAIRS:
        lines.append(f"and so are {len(found) - NAMED_PAIRS} more pairs")
    if lines:
        lines.append(
            f"a hand turns a knob by {HAND:g} at least: choose such recordings by presets "
            f"(--presets), or write other places into {COORDINATES}"
        )
    return lines
