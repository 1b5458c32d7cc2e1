"""The physics of a diffuse field: how alike it sounds at two points of a room."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EARS_M, SPACED_M = 0.17, 1.34
"""Distances between two points of a room: of ears (the sides correlate by 0.98 at 100 Hz, 0.94 at
200 Hz), and of a pair of microphones, as in the mean of 28 stereo recordings of rooms (0.26,
0.04)."""
SPEED_OF_SOUND_M_S = 343.0


def correlation(
    hz: NDArray[np.float64], width: float, spacing_m: float = EARS_M
) -> NDArray[np.float64]:
    """Correlation of left and right at each frequency, -1 .. 1, for a width of -4 .. 4.

    Width 1 is a diffuse field at two points, sin(k d) / (k d) with k = 2 pi f / c (Cook et al.
    1955), but never below 0: nothing cancels in mono. From 0 to 1 the way there from mono, from 1
    to 4 the way on to -0.6.
    """
    natural = np.maximum(np.sinc(2 * hz * spacing_m / SPEED_OF_SOUND_M_S), 0)
    w = abs(width)
    if w <= 1:
        return np.asarray(1 + w * (natural - 1))
    return np.asarray(natural - (min(w, 4) - 1) / 3 * (natural + 0.6))
