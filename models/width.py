"""The width of a stereo recording: the value of the control `width` whose sides are as alike. NumPy
only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import DIRECT_S, OCTAVES_HZ, octave_response, onset
from dsp.diffuse_field import correlation

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

LOWEST_HZ = 200.0
"""Below, sides are alike at every width."""
WIDTHS = np.linspace(0.0, 4.0, 81)
LONG_S = 4.0
QUIET_DB = 50.0
"""An octave this far below the loudest is left out."""


def width_of(left: Floats, right: Floats, rate_hz: int) -> float:
    """The width, 0 .. 4, of what follows the direct sound.

    The correlation of the sides in each octave is compared with that of synthesised rooms. 1 if
    nothing follows.
    """
    begin = min(onset(left), onset(right)) + int(2 * DIRECT_S * rate_hz)
    sides = np.stack([left, right])[:, begin : begin + int(LONG_S * rate_hz)].astype(np.float64)
    if not (np.abs(sides).max(axis=1, initial=0.0) > 0).all():
        return 1.0
    frames = 1 << max(sides.shape[1] - 1, 1023).bit_length()
    spectra = np.fft.rfft(sides, frames)
    hz = np.fft.rfftfreq(frames, 1 / rate_hz).astype(np.float64)
    cross = (spectra[0] * spectra[1].conj()).real
    power = np.abs(spectra) ** 2
    found, weights = [], []
    for centre in OCTAVES_HZ:
        if centre > LOWEST_HZ and centre * np.sqrt(2) < 0.49 * rate_hz:
            weight = np.abs(octave_response(hz, centre, rate_hz)) ** 2
            energy = np.sqrt(float(power[0] @ weight) * float(power[1] @ weight))
            found.append((float(cross @ weight) / max(energy, 1e-300), energy))
            weights.append(weight / weight.sum())
    measured, energies = np.array(found).T
    heard = energies > energies.max() * 10 ** (-QUIET_DB / 10)
    made = np.array([[correlation(hz, w) @ weight for weight in weights] for w in WIDTHS])
    return float(WIDTHS[np.argmin(((made - measured) ** 2)[:, heard].sum(axis=1))])
