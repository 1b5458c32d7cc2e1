"""The cube of rooms: the part of the latent space that the knobs reach."""

from __future__ import annotations

LIMIT = 2.0
"""The axes x, y and z run from -LIMIT to LIMIT."""
COLOUR_LIMIT = 3.0
"""The further axes of a decoder run from -COLOUR_LIMIT to COLOUR_LIMIT."""
KNOB_STEPS = 9.0
"""Knob values run from 0 to KNOB_STEPS; the plug-in has these ten steps only."""
