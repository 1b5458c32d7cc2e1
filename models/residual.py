"""What an encoded room keeps beside its latents: its energy in each octave over time, and its
direct sound's spectrum.

Eight latents cannot hold every room. A residual has the energy in STEPS intervals of time for each
octave; the intervals are shares of the octave's own decay, so that dry and long rooms get equally
many. It holds energies of the room, not differences to a decoder's room: so it is valid for any
source of rooms, a decoder or a bank, with colours or without. At the residual's place it changes
the source's room by gains (`gains`), such that the room has these energies; around the place the
gains fade out (`strength`), so that X, Y and Z stay continuous.

    bytes  field of the encoded form
        1  version, 1
        -  parts: 1 byte type, 2 bytes length, content; unknown types are kept

NumPy only; the control process calls it.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import OCTAVES_HZ
from dsp.endless import continued
from dsp.energymap import EnergyMap, Grid, longer
from dsp.errors import InvalidValue
from dsp.shaping import without_floor
from dsp.taps import Taps, joined
from models.latent import KNOBS, LATENT_LIMIT, LATENTS
from models.measures import octave_matrix, power

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

OCTAVES = len(OCTAVES_HZ)
SHARES = np.array([0, 0.012, 0.03, 0.055, 0.09, 0.13, 0.18, 0.25, 0.34, 0.45, 0.58, 0.75, 1.0])
"""Ends of the intervals, as shares of the time in which an octave decays by END_DB."""
STEPS = len(SHARES) - 1
END_DB = -60.0
SPLIT_S = 0.05
"""C50 divides here: the nearest end of an interval is moved to it."""
STEP_DB = 0.5
"""Energies are whole steps below the highest one; NOTHING is silence."""
NOTHING = 255
SHORTEST_END_S, LONGEST_END_S = 0.01, 30.0
LARGEST_GAIN_DB = 80.0
ROUNDS, APPROACH, CLOSE_DB = 30, 0.8, 0.1
"""The gains are found in at most ROUNDS steps, each of this share of what is missing."""
DIRECT_RANGE_DB = 100.0
VERSION = 1
MAX_BYTES = 1024
_PLACE, _ENERGIES, _DIRECT, _TAPS = 1, 2, 3, 4
_PART = struct.Struct("<BH")
_LATENT_SCALE = 10_000


class ResidualError(InvalidValue):
    """Not an encoded residual, or one of a newer nverb."""


@dataclass(frozen=True)
class Residual:
    """The residual of one encoded room.

    `latent` float64 (8,): its place: X, Y, Z and colours. `end_s` (octaves,): see SHARES.
    `energy_db` (octaves, STEPS) and `direct_db` (octaves,): energies, relative to any level; -inf
    is silence. `taps`: its reflections, of a share of the energies (dsp.taps). `others`: parts that
    this module does not know, by type.
    """

    latent: Doubles
    end_s: Doubles
    energy_db: Doubles
    direct_db: Doubles
    taps: Taps | None = None
    others: dict[int, bytes] = field(default_factory=dict)

    def edges_s(self) -> Doubles:
        """Ends of the intervals, (octaves, STEPS + 1)."""
        return edges_of(self.end_s)

    def to_text(self) -> str:
        """The encoded form in base64, as presets and banks have it."""
        return base64.b64encode(self.to_bytes()).decode()

    def to_bytes(self) -> bytes:
        """The encoded form; energies are rounded to STEP_DB, latents to 0.0001."""
        top = max(float(self.energy_db.max()), float(self.direct_db.max()))
        ends = np.clip(np.log(self.end_s / SHORTEST_END_S) / _END_STEP, 0, 255)
        latent = np.rint(np.clip(self.latent, -LATENT_LIMIT, LATENT_LIMIT) * _LATENT_SCALE)
        parts = {
            _PLACE: latent.astype("<i2").tobytes(),
            _ENERGIES: bytes([OCTAVES, STEPS])
            + np.rint(ends).astype(np.uint8).tobytes()
            + _steps(self.energy_db, top),
            _DIRECT: _steps(self.direct_db, top),
        } | self.others
        if self.taps is not None:
            parts[_TAPS] = self.taps.to_bytes()
        return bytes([VERSION]) + b"".join(
            _PART.pack(kind, len(part)) + part for kind, part in sorted(parts.items())
        )


_END_STEP = math.log(LONGEST_END_S / SHORTEST_END_S) / 255


def rounded_end_s(end_s: Doubles) -> Doubles:
    """Ends as the encoded form holds them."""
    steps = np.rint(
        np.log(np.clip(end_s, SHORTEST_END_S, LONGEST_END_S) / SHORTEST_END_S) / _END_STEP
    )
    return np.asarray(SHORTEST_END_S * np.exp(steps * _END_STEP))


def edges_of(end_s: Doubles) -> Doubles:
    """See `Residual.edges_s`."""
    edges = SHARES * end_s[:, None]
    for row in edges:
        if row[-1] > SPLIT_S:
            nearest = 1 + int(np.argmin(np.abs(np.log(row[1:-1] / SPLIT_S))))
            row[nearest] = SPLIT_S
    return np.asarray(edges)


def _steps(energy_db: Doubles, top_db: float) -> bytes:
    with np.errstate(invalid="ignore"):
        steps = np.rint((top_db - energy_db) / STEP_DB)
    return np.where(steps < NOTHING, steps, NOTHING).astype(np.uint8).tobytes()


def _energies(data: bytes) -> Doubles:
    steps = np.frombuffer(data, np.uint8).astype(np.float64)
    return np.where(steps == NOTHING, -np.inf, -STEP_DB * steps)


def from_bytes(data: bytes) -> Residual:
    """The inverse of `Residual.to_bytes`. Raises ResidualError."""
    if not data or len(data) > MAX_BYTES:
        raise ResidualError(f"a residual of {len(data)} bytes: it has 1 to {MAX_BYTES}")
    if data[0] != VERSION:
        raise ResidualError(
            f"version {data[0]} of residuals, nverb here reads {VERSION}: update it"
        )
    parts: dict[int, bytes] = {}
    at = 1
    while at < len(data):
        kind, size = _PART.unpack_from(data, at) if at + 3 <= len(data) else (0, len(data))
        at += _PART.size
        if at + size > len(data) or kind in parts:
            raise ResidualError("a damaged residual: encode the room again")
        parts[kind] = data[at : at + size]
        at += size
    sizes = {_PLACE: 2 * LATENTS, _ENERGIES: 2 + OCTAVES * (1 + STEPS), _DIRECT: OCTAVES}
    if any(len(parts.get(kind, b"")) != size for kind, size in sizes.items()):
        raise ResidualError("a residual without its energies: encode the room again")
    energies = parts[_ENERGIES]
    if energies[:2] != bytes([OCTAVES, STEPS]):
        raise ResidualError("a residual of another resolution: encode the room again")
    ends = np.frombuffer(energies[2 : 2 + OCTAVES], np.uint8)
    return Residual(
        np.frombuffer(parts[_PLACE], "<i2") / _LATENT_SCALE,
        SHORTEST_END_S * np.exp(ends * _END_STEP),
        _energies(energies[2 + OCTAVES :]).reshape(OCTAVES, STEPS),
        _energies(parts[_DIRECT]),
        _taps(parts.pop(_TAPS, None)),
        {kind: part for kind, part in parts.items() if kind not in sizes},
    )


def _taps(part: bytes | None) -> Taps | None:
    try:
        return None if part is None else Taps.from_bytes(part)
    except InvalidValue as error:
        raise ResidualError(f"a damaged residual, {error}: encode the room again") from None


def from_text(text: str) -> Residual:
    """The inverse of `Residual.to_text`. Raises ResidualError."""
    try:
        data = base64.b64decode(text[: 2 * MAX_BYTES], validate=True)
    except ValueError:
        raise ResidualError("not an encoded residual: encode the room again") from None
    return from_bytes(data)


def place_of(residual: Residual) -> tuple[float, float, float]:
    """A residual's place as X, Y and Z."""
    x, y, z = (float(value) for value in residual.latent[:KNOBS])
    return x, y, z


def rounded(residual: Residual) -> Residual:
    """The residual as its encoded form has it."""
    return from_bytes(residual.to_bytes())


def interval_energy(frames: Doubles, frame_edge_s: Doubles, edges_s: Doubles) -> Doubles:
    """Energies (octaves, frames) summed over intervals of time, (octaves, intervals)."""
    total = np.concatenate([np.zeros((len(frames), 1)), np.cumsum(frames, axis=1)], axis=1)
    return np.stack(
        [
            np.diff(np.interp(edge, frame_edge_s, row))
            for edge, row in zip(edges_s, total, strict=True)
        ]
    )


@lru_cache(maxsize=8)
def _band_shares(grid: Grid) -> Floats:
    """How the bands' gains follow the octaves': linear over log frequency, (bands, octaves)."""
    at = np.interp(np.log(grid.centre_hz), np.log(OCTAVES_HZ), np.arange(OCTAVES))
    shares = np.maximum(1 - np.abs(at[:, None] - np.arange(OCTAVES)), 0)
    return np.asarray(shares, np.float32)


@dataclass(frozen=True)
class Gains:
    """What makes a source's room at a place the encoded one.

    `level_db` (bands, frames) on `grid`, that of the source or a longer one. `deep_db`: levels of
    the room itself where the source's is a floor, elsewhere NaN. `direct_db` (bands,): gains of the
    direct sound; its levels if the source's room has none (`adds_direct`); None if the encoded room
    has none. `taps`: of the encoded room.
    """

    grid: Grid
    level_db: Floats
    deep_db: Floats
    direct_db: Floats | None
    adds_direct: bool
    taps: Taps | None = None

    def apply(self, room: EnergyMap, strength: float) -> EnergyMap:
        """The room with this share of the gains, 0 .. 1."""
        if strength <= 0:
            return room
        wide = continued(room, self.grid).level_db
        part = np.float32(strength)
        level = wide + part * self.level_db
        deep = ~np.isnan(self.deep_db)
        level[deep] = (1 - part) * wide[deep] + part * self.deep_db[deep]
        direct, taps = self._direct(room.direct_db, strength), self._joined(room.taps, strength)
        return EnergyMap(level, self.grid, direct, taps)

    def _joined(self, taps: Taps | None, strength: float) -> Taps | None:
        parts = [(self.taps, strength), (taps, 1 - strength)]
        faded = [each.faded(part) for each, part in parts if each is not None and part > 0]
        return joined(faded) if faded else None

    def _direct(self, direct: Floats | None, strength: float) -> Floats | None:
        if direct is None:
            if not self.adds_direct or self.direct_db is None:
                return None
            return np.asarray(self.direct_db + np.float32(10 * math.log10(strength)))
        if self.direct_db is None:
            left = 1 - strength
            return np.asarray(direct + np.float32(10 * math.log10(left))) if left > 1e-9 else None
        part = np.float32(0.0 if self.adds_direct else strength)
        return np.asarray(direct + part * self.direct_db, np.float32)


def gains(residual: Residual, base: EnergyMap, longest_s: float) -> Gains:
    """The gains that give `base`, the source's room at the residual's place, the residual's
    energies. The grid lasts `longest_s`, or as long as that of `base`."""
    grid = longer(base.grid, longest_s)
    whole_db = continued(base, grid).level_db
    room = continued(replace(base, level_db=without_floor(base.level_db, base.grid)), grid)
    octaves = octave_matrix(grid).astype(np.float64)
    edges = residual.edges_s()
    nodes = (edges[:, 1:] + edges[:, :-1]) / 2

    def energies(gain: Floats | float) -> Doubles:
        frames = octaves @ (power(room.level_db + gain) * grid.frame_s)
        return interval_energy(frames, grid.frame_edge_s, edges)

    inside = edges[:, 1:] <= grid.duration_s * 1.001
    inside[:, 0] = True
    last = inside.sum(axis=1) - 1  # later intervals have the gain of the last one that is played
    held = np.minimum(np.arange(STEPS), last[:, None])
    wanted = residual.energy_db
    own = float(energies(0.0)[inside].sum()) / float((10 ** (wanted[inside] / 10)).sum())
    reference_db = 10 * math.log10(max(own, 1e-30))
    found = np.zeros_like(wanted)
    gain = np.zeros_like(room.level_db)
    for _ in range(ROUNDS):
        off_db = np.where(inside, wanted + reference_db - _decibels(energies(gain)), 0.0)
        if np.abs(off_db).max() < CLOSE_DB:
            break
        found = found + np.clip(APPROACH * off_db, -6, 6)
        found = np.clip(found, -LARGEST_GAIN_DB, LARGEST_GAIN_DB)
        found = np.take_along_axis(found, held, axis=1)
        gain = _spread(found, nodes, grid)
    deep_db = np.where(room.level_db != whole_db, room.level_db + gain, np.float32(np.nan))
    direct, adds = _direct_gains(residual.direct_db + reference_db, room, octaves)
    return Gains(grid, gain, deep_db, direct, adds, residual.taps)


def _spread(found: Doubles, nodes: Doubles, grid: Grid) -> Floats:
    """Gains at the nodes as gains of cells; after the last node they go on as before it."""
    time = grid.frame_centre_s
    rows = []
    for gain, node in zip(found, nodes, strict=True):
        slope = float(np.clip((gain[-1] - gain[-3]) / (node[-1] - node[-3]), -200, 200))
        late = slope * np.maximum(time - node[-1], 0)
        rows.append(np.interp(time, node, gain) + np.clip(late, -LARGEST_GAIN_DB, LARGEST_GAIN_DB))
    return np.asarray(_band_shares(grid) @ np.stack(rows).astype(np.float32))


def _direct_gains(
    wanted_db: Doubles, room: EnergyMap, octaves: Doubles
) -> tuple[Floats | None, bool]:
    """See `Gains`: its `direct_db` and `adds_direct`."""
    if not np.isfinite(wanted_db).any():
        return None, False
    wanted_db = np.maximum(wanted_db, wanted_db.max() - DIRECT_RANGE_DB)
    adds = room.direct_db is None
    flat = (10 * np.log10(np.diff(room.grid.edge_hz))).astype(np.float32)
    start = flat if room.direct_db is None else room.direct_db
    shares = _band_shares(room.grid)
    found = np.zeros(OCTAVES)
    for _ in range(ROUNDS):
        now = _decibels(octaves @ power(start + shares @ found.astype(np.float32)))
        found += APPROACH * (wanted_db - now)
    change = np.asarray(shares @ found.astype(np.float32), np.float32)
    return (start + change if adds else change), adds


def _decibels(energy: Doubles) -> Doubles:
    return np.asarray(10 * np.log10(np.maximum(energy, 1e-30)))


def longest_needed_s(ends_s: Sequence[Doubles], grid: Grid, longest_s: float) -> float:
    """How long the grid of gains must last: as long as the source's if all rooms end within it."""
    decayed_s = max((float(ends.max()) for ends in ends_s), default=0.0)
    return longest_s if decayed_s > grid.duration_s else grid.duration_s


def strength(distance: float, reach: float) -> float:
    """The share of a residual at a distance from its place, both in units of the knobs: 1 at the
    place, 0 from `reach` on, smooth at both ends."""
    if distance >= reach:
        return 0.0
    return 0.5 + 0.5 * math.cos(math.pi * distance / reach)
