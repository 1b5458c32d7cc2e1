"""What the engine accepts of JACK. No imports: the audio process reads it, too."""

from __future__ import annotations

BLOCK_SIZES = range(16, 4097)
"""Block sizes in frames, see dsp/reblock.h."""
RATES_HZ = range(8_000, 192_001)
"""Sampling rates."""
