"""Long transforms in place, compared with NumPy's in one piece."""

from __future__ import annotations

import numpy as np
import pytest

from dsp.plane_fft import combine, plane_for

RATE_HZ = 48000


@pytest.mark.parametrize("frames", [1, 7, 1000, 30_011])
def test_convolution_in_a_plane_is_that_of_numpy(frames: int) -> None:
    """With a filter by frequency in it; 120 dB below the result."""
    random = np.random.default_rng(frames)
    plane = plane_for(2 * frames)
    first, second = random.standard_normal((2, frames))
    plane.ravel().real[:frames], plane.ravel().imag[:frames] = first, second
    combine(plane, RATE_HZ, lambda one, two, hz: one * two / (1 + hz / 1000))
    size = plane.size
    spectrum = np.fft.rfft(first, size) * np.fft.rfft(second, size)
    true = np.fft.irfft(spectrum / (1 + np.fft.rfftfreq(size, 1 / RATE_HZ) / 1000), size)
    assert size >= 2 * frames
    assert np.abs(plane.ravel().real - true).max() < 1e-6 * np.abs(true).max()
    assert np.abs(plane.ravel().imag).max() < 1e-6 * np.abs(true).max()
