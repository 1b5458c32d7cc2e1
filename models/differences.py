"""Differences of two rooms in the figures of ISO 3382-1, per octave, and what of them is heard.

NumPy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import OCTAVES_HZ, RoomAcoustics

Table = NDArray[np.float64]

CURVE_BOTTOM_DB = -60.0
"""Decay curves are compared down to this level."""
RATIO_LIMIT_DB = 25.0
"""C50 and the direct-to-reverberant ratio are limited to +- this before they are compared: beyond
it the weaker side is inaudible.
"""
NO_DRR_DB = -24.0
"""If the original's direct sound is below this, it is not compared."""

FIGURES = ("EDC dB", "T30 %", "EDT %", "C50 dB", "DRR dB")

JND_FIGURES = slice(1, 4)
JND = np.array([5.0, 5.0, 1.1])
"""Just-noticeable differences of T30 and EDT in percent (ISO 3382-1), and of C50 in dB (Bradley
1999)."""
JND_OCTAVES = slice(1, None)
"""The octaves in which they are judged: 125 Hz and above."""


def differences(measured: RoomAcoustics, wanted: RoomAcoustics) -> Table:
    """|difference| of the FIGURES in each octave, float64 (figures, octaves).

    In dB, or in percent of the original's; NaN if they cannot be compared.
    """
    points = min(measured.curve_db.shape[1], wanted.curve_db.shape[1])
    result = np.full((len(FIGURES), len(OCTAVES_HZ)), np.nan)
    for row in range(len(OCTAVES_HZ)):
        curve = wanted.curve_db[row]
        heard = curve > CURVE_BOTTOM_DB
        if not heard.any() or np.isnan(curve).any():
            continue
        other = np.full(len(curve), measured.curve_db[row, -1])
        other[:points] = measured.curve_db[row, :points]
        # Beyond its end the decoded room counts as 20 dB below the range, not as minus infinity.
        result[0, row] = np.abs(np.maximum(other, CURVE_BOTTOM_DB - 20.0) - curve)[heard].mean()
    with np.errstate(invalid="ignore"):
        result[1] = 100.0 * np.abs(measured.t30_s / wanted.t30_s - 1.0)
        result[2] = 100.0 * np.abs(measured.edt_s / wanted.edt_s - 1.0)
        result[3] = np.abs(_limited(measured.c50_db) - _limited(wanted.c50_db))
        result[4] = np.abs(_limited(measured.drr_db) - _limited(wanted.drr_db))
    result[4, ~(wanted.drr_db > NO_DRR_DB)] = np.nan
    return result


def _limited(db: Table) -> Table:
    return np.clip(db, -RATIO_LIMIT_DB, RATIO_LIMIT_DB)
