"""Kinds of room, and how the parameters of each are drawn (`models.generator.RoomParameters`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsp.diffuse_field import SPEED_OF_SOUND_M_S
from models.latent import KNOBS, LATENT_HIGH, LATENT_LOW

Array = NDArray[np.float64]
Draws = dict[str, Array]
"""Parameters by name, each (rooms,); `models.generator` fills in the others."""


def knob_values(x: Array, y: Array, z: Array) -> Draws:
    """Parameters of the rooms at knob latents, each in -2 .. 2: X decay, Y brightness, Z early
    field.
    """
    late = np.maximum(
        (z - LATENT_LOW) / (LATENT_HIGH - LATENT_LOW), 0.0
    )  # 0 dry and sparse .. 1 swelling
    decay_s = 5.0 ** (x / 2.0)
    return {
        "decay_s": decay_s,
        "size_m": 2.0 * 12.0 ** ((x - LATENT_LOW) / (LATENT_HIGH - LATENT_LOW)),
        "bass_ratio": 1.1 * 1.25 ** (-y / 2.0),
        "treble_ratio": 0.36 * 3.0 ** (y / 2.0),
        "tilt_db": -2.2 + 1.1 * y,
        "high_cut_hz": 13_000.0 * 2.2 ** (y / 2.0),
        "direct_db": 6.0 - 14.0 * late - 26.0 * late**2,
        "early_db": 1.0 - 21.0 * late**2,
        "smear": 0.12 * 12.0**late,
        "onset_s": 0.001 + 0.02 * late + 0.65 * late**3 * decay_s**0.4,
        "onset_power": 0.6 + 1.1 * late,
    }


def _log_uniform(random: np.random.Generator, rooms: int, low: float, high: float) -> Array:
    return np.exp(random.uniform(np.log(low), np.log(high), rooms))


def _draw_common(
    random: np.random.Generator, rooms: int, decay: tuple[float, float], size: tuple[float, float]
) -> Draws:
    """What all kinds of room share: decay, spectrum, distance, early field, a weak second slope."""
    decay_s = _log_uniform(random, rooms, *decay)
    place = random.uniform(0.0, 1.0, rooms)  # size within the kind; large rooms decay longer
    longer = np.log(decay_s / decay[0]) / np.log(decay[1] / decay[0])
    treble_ratio = _log_uniform(random, rooms, 0.2, 1.1)
    distance = random.uniform(0.0, 1.0, rooms)  # 0 beside the source .. 1 far away
    weak_tail = random.random(rooms) < 0.3
    size_m = size[0] * (size[1] / size[0]) ** (0.5 * place + 0.5 * longer)
    return {
        "decay_s": decay_s,
        "size_m": size_m,
        "bass_ratio": _log_uniform(random, rooms, 0.75, 1.6),
        "treble_ratio": treble_ratio,
        "decay_bend": random.normal(0.0, 0.1, rooms),
        "decay_wave": random.normal(0.0, 0.06, rooms),
        "tilt_db": -1.2 + 1.6 * np.log(treble_ratio / 0.5) + random.normal(0.0, 1.0, rooms),
        "high_cut_hz": 14_000.0 * (treble_ratio / 0.5) ** 0.6,
        "direct_db": 28.0 - 44.0 * distance**0.6 + random.normal(0.0, 1.5, rooms),
        "early_db": random.uniform(-14.0, 2.0, rooms),
        "smear": _log_uniform(random, rooms, 0.15, 1.2),
        "pattern": random.uniform(0.0, 1.0, rooms),
        "onset_s": size_m / SPEED_OF_SOUND_M_S * _log_uniform(random, rooms, 0.03, 1.0),
        "onset_slope": random.uniform(0.0, 0.4, rooms),
        "onset_power": _log_uniform(random, rooms, 0.7, 2.5),
        "late_ratio": np.where(weak_tail, _log_uniform(random, rooms, 1.3, 4.0), 1.0),
        "late_db": np.where(weak_tail, random.uniform(-45.0, -12.0, rooms), -60.0),
    }


def _small_room(random: np.random.Generator, rooms: int) -> Draws:
    return _draw_common(random, rooms, (0.15, 1.2), (0.8, 3.0))


def _studio(random: np.random.Generator, rooms: int) -> Draws:
    return _draw_common(random, rooms, (0.12, 0.7), (1.0, 4.0)) | {
        "treble_ratio": _log_uniform(random, rooms, 0.55, 1.1),
        "bass_ratio": _log_uniform(random, rooms, 0.85, 1.4),
    }


def _hall(random: np.random.Generator, rooms: int) -> Draws:
    return _draw_common(random, rooms, (0.7, 3.5), (4.0, 22.0))


def _cathedral(random: np.random.Generator, rooms: int) -> Draws:
    return _draw_common(random, rooms, (2.5, 10.0), (10.0, 35.0)) | {
        "treble_ratio": _log_uniform(random, rooms, 0.12, 0.5),
    }


def _plate(random: np.random.Generator, rooms: int) -> Draws:
    return _draw_common(random, rooms, (0.5, 7.0), (0.3, 1.0)) | {
        "bass_ratio": _log_uniform(random, rooms, 0.6, 3.0),
        "treble_ratio": _log_uniform(random, rooms, 0.2, 0.9),
        "tilt_db": random.uniform(-2.5, 2.5, rooms),
        "low_cut_hz": _log_uniform(random, rooms, 20.0, 160.0),
        "high_cut_hz": _log_uniform(random, rooms, 8_000.0, 30_000.0),
        "direct_db": np.full(rooms, -90.0),
        "early_db": np.full(rooms, -60.0),
        "onset_s": _log_uniform(random, rooms, 0.0005, 0.02),
        "onset_slope": random.uniform(0.2, 0.8, rooms),
    }


def _spring(random: np.random.Generator, rooms: int) -> Draws:
    return _draw_common(random, rooms, (0.8, 4.5), (0.3, 1.0)) | {
        "bass_ratio": _log_uniform(random, rooms, 0.6, 1.6),
        "treble_ratio": _log_uniform(random, rooms, 0.3, 1.0),
        "tilt_db": random.uniform(-3.0, 1.0, rooms),
        "low_cut_hz": _log_uniform(random, rooms, 60.0, 250.0),
        "high_cut_hz": _log_uniform(random, rooms, 3_000.0, 7_000.0),
        "direct_db": np.full(rooms, -90.0),
        "early_db": np.full(rooms, -60.0),
        "echo_s": _log_uniform(random, rooms, 0.03, 0.07),
        "echo_depth": random.uniform(0.3, 0.9, rooms),
        "dispersion_s": random.uniform(0.0, 0.03, rooms),
    }


def _chamber(random: np.random.Generator, rooms: int) -> Draws:
    return _draw_common(random, rooms, (0.6, 4.0), (2.0, 5.0)) | {
        "treble_ratio": _log_uniform(random, rooms, 0.3, 0.8),
        "direct_db": random.uniform(-30.0, -8.0, rooms),
        "low_cut_hz": _log_uniform(random, rooms, 20.0, 120.0),
    }


def _slap(random: np.random.Generator, rooms: int) -> Draws:
    return _draw_common(random, rooms, (0.4, 2.5), (8.0, 40.0)) | {
        "treble_ratio": _log_uniform(random, rooms, 0.4, 1.0),
        "direct_db": random.uniform(0.0, 12.0, rooms),
        "early_db": random.uniform(-10.0, 3.0, rooms),
        "smear": _log_uniform(random, rooms, 0.05, 0.3),
        "echo_s": _log_uniform(random, rooms, 0.08, 0.5),
        "echo_depth": random.uniform(0.5, 0.95, rooms),
    }


def _coupled(random: np.random.Generator, rooms: int) -> Draws:
    return _draw_common(random, rooms, (0.25, 2.0), (1.5, 15.0)) | {
        "late_ratio": _log_uniform(random, rooms, 1.8, 4.5),
        "late_db": random.uniform(-28.0, -6.0, rooms),
    }


def _gated(random: np.random.Generator, rooms: int) -> Draws:
    return _draw_common(random, rooms, (0.6, 5.0), (2.0, 12.0)) | {
        "gate_s": _log_uniform(random, rooms, 0.12, 0.8),
        "gate_fall_db_s": _log_uniform(random, rooms, 120.0, 900.0),
        "direct_db": random.uniform(-25.0, 0.0, rooms),
    }


def _swelling(random: np.random.Generator, rooms: int) -> Draws:
    draws = _draw_common(random, rooms, (0.4, 8.0), (3.0, 20.0))
    reverse = random.random(rooms) < 0.25
    return draws | {
        "direct_db": np.where(
            random.random(rooms) < 0.7, -90.0, random.uniform(-25.0, -5.0, rooms)
        ),
        "early_db": random.uniform(-40.0, -12.0, rooms),
        "smear": _log_uniform(random, rooms, 0.5, 1.5),
        "onset_s": np.minimum(
            _log_uniform(random, rooms, 0.01, 0.25) * draws["decay_s"] ** 0.6, 1.0
        ),
        "onset_power": _log_uniform(random, rooms, 0.8, 2.5),
        "swell_s": np.where(
            reverse, np.minimum(random.uniform(0.05, 0.5, rooms) * draws["decay_s"], 1.5), 0.0
        ),
    }


def _knobs(random: np.random.Generator, rooms: int) -> Draws:
    return knob_values(*random.uniform(1.2 * LATENT_LOW, 1.2 * LATENT_HIGH, (KNOBS, rooms)))


KINDS = {
    "small room": (_small_room, 0.18),
    "studio": (_studio, 0.08),
    "hall": (_hall, 0.24),
    "cathedral": (_cathedral, 0.10),
    "plate": (_plate, 0.10),
    "spring": (_spring, 0.04),
    "chamber": (_chamber, 0.07),
    "outdoor slap": (_slap, 0.03),
    "coupled": (_coupled, 0.07),
    "gated": (_gated, 0.03),
    "swelling": (_swelling, 0.06),
    "knobs": (_knobs, 0.0),
}
"""Kinds of room: a function that draws them, and their share of a mixed draw.

"knobs": the starter's cube and a fifth beyond it. Drawn by name only, as training treats these
rooms separately: they have no colour.
"""
