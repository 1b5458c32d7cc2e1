"""The latent space of the room models: its axes, the cube that the knobs reach, its limits."""

from __future__ import annotations

KNOBS, COLOURS = 3, 5
LATENTS = KNOBS + COLOURS
"""An own model's latents: X, Y and Z, then the colours."""

LATENT_LOW, LATENT_HIGH = -2.0, 2.0
"""Ends of the axes X, Y and Z: the cube. Presets keep colours within them too."""

LATENT_LIMIT = 3.0
"""Latents are limited to +- this. Rooms beyond the cube exist, but no knob reaches them."""

KNOB_STEPS = 9.0
"""The knobs X, Y and Z run from 0 (LATENT_LOW) to this (LATENT_HIGH)."""
