"""Spectra of two long sounds at once, in the memory of the sounds.

A long transform in one piece needs several times the memory of its sound: double precision, work
space, and a table of roots that NumPy keeps. Here the sound is a plane of rows, transformed along
its columns, turned, and transformed along its rows (four-step FFT, Bailey 1990): each step needs
the memory of a few rows. Of two real sounds one is the real part and one is the imaginary part.

Single precision: errors are 130 dB below the loudest frequency. NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dsp.bands import smooth_number

Doubles = NDArray[np.float64]
Plane = NDArray[np.complex64]
Row = NDArray[np.complex128]

Combine = Callable[[Row, Row, Doubles], Row]
"""Makes one spectrum of two, of the frequencies of one row, in Hz."""

COLUMNS = 32
"""So many are transformed at once."""


def plane_for(frames: int) -> Plane:
    """A plane of silence, (rows, columns), for at least so many samples: `plane.ravel().real` and
    `plane.ravel().imag` are the sounds."""
    rows = smooth_number(math.isqrt(max(frames, 4)))
    return np.zeros((rows, smooth_number(-(-frames // rows))), np.complex64)


def combine(plane: Plane, rate_hz: int, make: Combine) -> None:
    """The real part becomes the sound whose spectrum `make` makes of those of both parts.

    `make` works on each frequency by itself, on 0 Hz to half the rate and on their mirror images.
    """
    rows, columns = plane.shape
    frames = rows * columns
    _along_columns(plane, np.fft.fft, turn=-1)
    at = np.arange(columns) * rows
    for row in range(rows // 2 + 1):
        mirror = (rows - row) % rows
        own = np.fft.fft(plane[row].astype(np.complex128))
        other = own if mirror == row else np.fft.fft(plane[mirror].astype(np.complex128))
        # The frequency -f of f: in the mirrored row, backwards.
        folded = np.roll(other[::-1], 1 if row == 0 else 0).conj()
        bins = at + row
        hz = np.minimum(bins, frames - bins) * (rate_hz / frames)
        made = make((own + folded) / 2, (own - folded) / 2j, hz)
        plane[row] = np.fft.ifft(made)
        if mirror != row:
            plane[mirror] = np.fft.ifft(made[::-1].conj())
    _along_columns(plane, np.fft.ifft, turn=1)


def _along_columns(plane: Plane, transform: Callable[..., Row], turn: int) -> None:
    """Transform along the columns; the turns come after a forward transform, before an inverse."""
    rows, columns = plane.shape
    step = turn * 2j * math.pi / plane.size
    for begin in range(0, columns, COLUMNS):
        part = plane[:, begin : begin + COLUMNS]
        turns = np.exp(step * np.outer(np.arange(rows), np.arange(begin, begin + part.shape[1])))
        if turn < 0:
            part[:] = transform(part.astype(np.complex128), axis=0) * turns
        else:
            part[:] = transform(part * turns, axis=0)
