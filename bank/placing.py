"""Finds places for recordings: by an encoder, or by decay; no two at one point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bank.format import Point
from bank.recording import at_rate
from dsp.analysis import analyse
from models.latent import LATENT_HIGH, LATENT_LOW

Floats = NDArray[np.float32]
Finder = Callable[[Floats, int], Point]

APART = 0.1
"""Distance between neighbours along an axis in latent units: what a hand can set, `places.HAND`;
less in a crowded bank."""


def finder(encoder: Path | None, report: Callable[[str], None]) -> Finder | None:
    """A function that places a recording with an encoder. None, reported, if ours cannot run."""
    from models.decoder import Decoder, Encoder, ModelError, PluginEncoder

    def bounded(latent: NDArray[np.float32]) -> Point:
        x, y, z = (float(value) for value in np.clip(latent[:3], LATENT_LOW, LATENT_HIGH))
        return x, y, z

    if encoder is not None:
        plugin = PluginEncoder.open(encoder)
        return lambda samples, rate_hz: bounded(plugin.encode(plugin_input(samples, rate_hz)))
    try:
        own, decoder = Encoder.open(), Decoder.open()
    except (ModelError, OSError) as error:
        reason = "none is installed" if isinstance(error, OSError) else str(error)
        report(
            f"no encoder to place the recordings ({reason}): "
            "they are spread along x by their decay; give their places in a CSV file"
        )
        return None

    def find(samples: Floats, rate_hz: int) -> Point:
        # Use the loudest channel: the sum of two microphones is comb-filtered.
        loudest = samples[int(np.argmax((samples**2).sum(axis=1)))]
        return bounded(own.encode(analyse(loudest, rate_hz), decoder)[0])

    return find


def plugin_input(samples: Floats, rate_hz: int) -> Floats:
    """A recording as the plug-in's tools prepared the ones that its encoder was trained on: one
    channel at 16 kHz, from its direct sound on, positive, at a peak of 1."""
    from dsp.acoustics import onset
    from models.reference import RATE_HZ

    loudest = samples[int(np.argmax((samples.astype(np.float64) ** 2).sum(axis=1)))]
    sound = at_rate(loudest[None], rate_hz, RATE_HZ)[0]
    peak = int(np.argmax(np.abs(sound)))
    return np.asarray(sound[onset(sound) :] / sound[peak], np.float32)


def decay_s(samples: Floats, rate_hz: int) -> float:
    """The time by which 99.9 % of the energy has arrived."""
    energy = np.cumsum((samples.astype(np.float64) ** 2).sum(axis=0))
    return float(np.searchsorted(energy, 0.999 * energy[-1]) / rate_hz)


def apart(places: Sequence[Point]) -> tuple[list[Point], list[float]]:
    """The places with the least moves that separate them, within the cube; and how far each moved.

    The first at a point stays.
    """
    share = (LATENT_HIGH - LATENT_LOW) / max(len(places), 1) ** (1 / 3)
    step = min(APART, share / 3)
    taken: dict[tuple[int, int, int], list[Point]] = {}
    begun: dict[tuple[int, int, int], int] = {}
    found: list[Point] = []
    for place in places:
        cell = _cell(place, step)
        # Others of this cell have looked at the nearest offsets already.
        start = begun.get(cell, 0)
        moved = place
        for index in itertools.count(start):
            moved = _moved(place, _offset(index), step)
            if (_inside(moved) and _is_free(moved, taken, step)) or index > start + 200_000:
                begun[cell] = index
                break
        taken.setdefault(_cell(moved, step), []).append(moved)
        found.append(moved)
    return found, [math.dist(a, b) for a, b in zip(places, found, strict=True)]


_REACHES = (8, 24, 64)
_OFFSETS: list[tuple[int, int, int]] = []


def _offset(index: int) -> tuple[int, int, int]:
    """Whole steps of the axes in the order of their distance; index 0 is no move."""
    for reach in _REACHES:
        if index < len(_OFFSETS):
            break
        cube = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3), axis=-1).reshape(-1, 3)
        squared = (cube**2).sum(axis=1)
        # Those of a ball: a larger one begins with the same offsets.
        order = np.argsort(squared, kind="stable")[: int((squared <= reach**2).sum())]
        _OFFSETS[:] = [tuple(row) for row in cube[order].tolist()]
    return _OFFSETS[min(index, len(_OFFSETS) - 1)]


def _moved(place: Point, offset: tuple[int, int, int], step: float) -> Point:
    x, y, z = (value + step * count for value, count in zip(place, offset, strict=True))
    return x, y, z


def _cell(place: Point, step: float) -> tuple[int, int, int]:
    x, y, z = (math.floor(value / step) for value in place)
    return x, y, z


def _inside(place: Point) -> bool:
    return all(LATENT_LOW <= value <= LATENT_HIGH for value in place)


def _is_free(place: Point, taken: dict[tuple[int, int, int], list[Point]], step: float) -> bool:
    x, y, z = _cell(place, step)
    near = (
        other
        for dx, dy, dz in itertools.product((-1, 0, 1), repeat=3)
        for other in taken.get((x + dx, y + dy, z + dz), ())
    )
    return all(
        max(abs(a - b) for a, b in zip(place, other, strict=True)) > 0.9 * step for other in near
    )
