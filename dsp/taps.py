"""Single reflections of a room, beside its energy map.

A map's cells last some milliseconds, and noise fills them. A reflection that stands out is a tap: a
time, and the share of the energy around it that arrives as one pulse. So a tap adds no energy: the
noise near it loses what the pulse has, cell by cell, and decay, tilt and all else that changes the
map changes the tap, too.

| what                        | function                             |
|-----------------------------|--------------------------------------|
| find them in a recording    | `dsp.reflections.find_taps`          |
| draw them for a room        | `dsp.reflections.draw_taps`          |
| keep them, 4 bytes each     | `Taps.to_bytes`, `Taps.from_bytes`   |
| a room between two places   | `Taps.faded`, `joined`               |
| play them                   | `EnergyMap(..., taps=taps)`          |

`dsp.pulses` has the sound. NumPy only; the control process and the renderer call it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsp.errors import InvalidValue

Floats = NDArray[np.float32]

MOST_TAPS = 32
"""Of a recording. A room between a recording and others has more."""
LATEST_S = 0.3
"""No tap is later."""
OTHER_SHARE = 0.06
"""Reflections of a source at the other side come earlier or later by up to this share."""
BYTES = 4
TIME_STEP_S, SIDES, TILT_STEP_DB, TILTS = 2e-5, 31, 0.5, 15
MOST_DB, SHARE_STEP_DB, SHARES = 6.0, 0.5, 63
"""The byte form has 14 bits of time, 6 of share from MOST_DB down, 6 of side, 5 of tilt, 1 of
sign. A share below its range is not heard as a reflection."""


@dataclass(frozen=True)
class Taps:
    """Reflections, in order of time; every field is float32 (taps,).

    | field   | unit          | range     | what                                                 |
    |---------|---------------|-----------|------------------------------------------------------|
    | time_s  | s             | 0 .. 0.3  | after the direct sound                               |
    | share   |               | -4 .. 4   | of the energy around it, 3 ms to both sides;         |
    |         |               |           | above 1: more than the map has there;                |
    |         |               |           | negative: the pulse is, too                          |
    | side    |               | -1 .. 1   | from left to right, equal power                      |
    | tilt_db | dB per octave | +-7.5     | against the room around it; 0 at 1 kHz               |
    """

    time_s: Floats
    share: Floats
    side: Floats
    tilt_db: Floats

    def __post_init__(self) -> None:
        fields = (self.time_s, self.share, self.side, self.tilt_db)
        if len({field.shape for field in fields}) != 1 or self.time_s.ndim != 1:
            raise ValueError("the fields of taps differ in shape, or have not one dimension")
        if not all(np.isfinite(field).all() for field in fields):
            raise ValueError("taps have values that are not finite")

    def __len__(self) -> int:
        return len(self.time_s)

    def faded(self, weight: float) -> Taps:
        """The same taps with `weight` times their energy; the noise gets the rest."""
        return Taps(self.time_s, self.share * np.float32(weight), self.side, self.tilt_db)

    def stretched(self, size: float) -> Taps:
        """In a room whose dimensions are `size` times as large."""
        return Taps(self.time_s * np.float32(size), self.share, self.side, self.tilt_db)

    def from_the_other_side(self) -> Taps:
        """The same reflections for a source at the mirrored place: from the other side, a little
        earlier or later."""
        shift = OTHER_SHARE * np.sin(2.4 * np.arange(1, len(self) + 1, dtype=np.float32))
        time_s = self.time_s * (1 + shift)
        order = np.argsort(time_s, kind="stable")
        mirrored = (time_s, self.share, -self.side, self.tilt_db)
        return Taps(*(field[order] for field in mirrored))

    def to_bytes(self) -> bytes:
        """BYTES for each of the strongest MOST_TAPS: see `from_bytes`. Little-endian words."""
        strongest = np.sort(np.argsort(-np.abs(self.share), kind="stable")[:MOST_TAPS])
        share_db = 10 * np.log10(np.maximum(np.abs(self.share[strongest]), 1e-9))
        level = np.rint((MOST_DB - share_db) / SHARE_STEP_DB)
        used, level = strongest[level <= SHARES], np.maximum(level[level <= SHARES], 0)
        time = np.clip(np.rint(self.time_s[used] / TIME_STEP_S), 0, (1 << 14) - 1).astype(np.uint32)
        side = np.rint(np.clip(self.side[used], -1, 1) * SIDES) + SIDES
        tilt = np.clip(np.rint(self.tilt_db[used] / TILT_STEP_DB), -TILTS, TILTS) + TILTS
        word = time | (level.astype(np.uint32) << 14)
        word |= (side.astype(np.uint32) << 20) | (tilt.astype(np.uint32) << 26)
        word |= (self.share[used] < 0).astype(np.uint32) << 31
        return bytes(word.astype("<u4"))

    @classmethod
    def from_bytes(cls, data: bytes) -> Taps:
        """The taps of their byte form: time within 10 us, share within 0.25 dB.

        Raises InvalidValue for other than up to MOST_TAPS whole taps.
        """
        if len(data) % BYTES or len(data) > MOST_TAPS * BYTES:
            raise InvalidValue(
                f"{len(data)} bytes of taps: must be {BYTES} for each of {MOST_TAPS}"
            )
        word = np.frombuffer(data, "<u4")
        sign = np.where(word >> 31, -1.0, 1.0)
        share = sign * 10 ** ((MOST_DB - SHARE_STEP_DB * ((word >> 14) & SHARES)) / 10)
        side = np.minimum((word >> 20) & 63, 2 * SIDES).astype(np.float64) / SIDES - 1
        tilt = (np.minimum((word >> 26) & 31, 2 * TILTS).astype(np.float64) - TILTS) * TILT_STEP_DB
        time = np.minimum((word & 0x3FFF) * TIME_STEP_S, LATEST_S)
        return cls(*(np.asarray(x, np.float32) for x in (time, share, side, tilt)))


NO_TAPS = Taps(*(np.zeros(0, np.float32),) * 4)


def joined(parts: list[Taps]) -> Taps:
    """All taps of several rooms: with `faded`, the taps of a place between them."""
    fields = ("time_s", "share", "side", "tilt_db")
    all_of = [np.concatenate([getattr(part, field) for part in parts]) for field in fields]
    order = np.argsort(all_of[0], kind="stable")
    return Taps(*(field[order] for field in all_of))
