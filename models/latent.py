"""The latent space of the room models: its axes, the cube that the knobs reach, its limits."""

from __future__ import annotations

KNOBS, COLOURS = 3, 5
LATENTS = KNOBS + COLOURS
"""An own model's latents: X, Y and Z, then the colours."""

LATENT_LOW, LATENT_HIGH = -2.0, 2.0
"""Ends of the axes X, Y and Z: the cube."""

LATENT_LIMIT = 3.0
"""Latents are limited to +- this. No knob reaches rooms beyond the cube, but encoded rooms do: a
knob at its end, and how far the room is beyond that."""

KNOB_STEPS = 9.0
"""The knobs X, Y and Z run from 0 (LATENT_LOW) to this (LATENT_HIGH)."""


def latent_of(knob: float) -> float:
    """The latent coordinate of a knob's value, as in the plug-in, also between its ten steps."""
    return LATENT_LOW + (LATENT_HIGH - LATENT_LOW) * knob / KNOB_STEPS


def knob_of(latent: float) -> float:
    """The knob's value for a latent coordinate: the inverse of `latent_of`, within the knob's
    range."""
    return min(max(_unlimited(latent), 0.0), KNOB_STEPS)


def beyond(latent: float) -> float:
    """How far a latent coordinate is beyond an end of the knob, in its units; negative below it."""
    return _unlimited(latent) - knob_of(latent)


def _unlimited(latent: float) -> float:
    return (latent - LATENT_LOW) / (LATENT_HIGH - LATENT_LOW) * KNOB_STEPS


BEYOND = beyond(LATENT_LIMIT)
"""The farthest."""
