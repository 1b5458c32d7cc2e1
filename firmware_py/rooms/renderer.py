"""Renders IRs under the controls, from energy maps, recordings or samples."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from device.controls import is_infinite
from dsp.diffuse_field import EARS_M, SPACED_M
from dsp.energymap import EnergyMap, Grid
from dsp.latefield import Seam, decay_of, decay_of_ir, late_room, tail_s
from dsp.loudness import normalise
from dsp.recorded import RecordedRoom, recording_grid
from dsp.recorded import render as render_recorded
from dsp.shaping import Shape, backwards, cut, shape_map
from dsp.synthesis import Synthesiser
from dsp.true_stereo import TrueStereo
from firmware_py.rooms.source import Floats

INFINITE_FACTOR = 64.0
"""On decay times, up to the seam, of a room that never ends."""
GRIDS = 2
"""Grids whose synthesisers are kept; each holds some MB of carriers."""
FIRST, SECOND = 1, 2
"""The noise of the two inputs."""


def shape_of(values: dict[str, float]) -> Shape:
    """The shape that the values of the controls describe."""
    return Shape(
        decay=values["decay"],
        size=values["size"],
        tilt_db=values["tilt"],
        early_late_db=values["early_late"],
        attack_s=values["attack"] / 1000,
        reverse=values["reverse"] >= 0.5,
    )


class Lengths(NamedTuple):
    """Of a room: of its IR, and how long it is heard."""

    ir_s: float = 0.0
    heard_s: float = 0.0


class MadeRoom(NamedTuple):
    """A room for the engine: its IR, float32 (1, 2 or 4 channels, taps), and how it goes on
    (`dsp.latefield.late_room`); None: not at all."""

    ir: Floats
    late: Floats | None
    tail_s: float = 0.0
    """How long it is heard after its IR."""

    def lengths(self, rate_hz: int) -> Lengths:
        ir_s = self.ir.shape[1] / rate_hz
        return Lengths(ir_s, ir_s + self.tail_s)


class Renderer:
    """Renders IRs for one engine. All IRs are float32 (1, 2 or 4 channels, taps)."""

    def __init__(self, rate_hz: int, max_taps: int, inputs: int = 2) -> None:
        """`inputs`: of the engine; for one input a recording of four channels is mixed to two."""
        self.rate_hz, self.max_taps, self.inputs = rate_hz, max_taps, inputs
        self.is_true_stereo = False
        """Rooms of energy maps get four channels, for two sources. It needs an engine with two
        inputs."""
        self._synthesisers: dict[tuple[Grid, int], Synthesiser] = {}

    def prepare(self) -> None:
        """Do a part of the work that later rooms need. Call it in idle time."""
        any(synthesiser.prepare() for synthesiser in self._synthesisers.values())

    def prepare_true_stereo(self) -> bool:
        """Do a part of the work that rooms in true stereo need in addition. True when all is done.
        Otherwise the first of them takes a second."""
        grids = [grid for grid, seed in self._synthesisers if seed == FIRST]
        return not any([self._synthesiser(grid, SECOND).prepare() for grid in grids])

    def from_map(
        self, room: EnergyMap, values: dict[str, float], grid: Grid | None = None
    ) -> Floats:
        """The IR of an energy map. `grid`: that of its source, where the map's is longer."""
        return self._whole(self._shaped(room, values), values, grid or room.grid)

    def _shaped(
        self, room: EnergyMap, values: dict[str, float], decay: float | None = None
    ) -> EnergyMap:
        shape = shape_of(values)
        if decay is not None:
            shape = replace(shape, decay=decay)
        shaped = shape_map(room, shape, self.longest_s)
        if values["direct"] < 0.5:  # the dry path has it: a copy would be a slap after a pre-delay
            shaped = replace(shaped, direct_db=None)
        return shaped

    def _whole(self, shaped: EnergyMap, values: dict[str, float], grid: Grid) -> Floats:
        made = self._inputs(grid)
        return self._finish(made(shaped, values["width"], spacing_m=_spacing_m(values)), values)

    def made_from_map(
        self, room: EnergyMap, values: dict[str, float], grid: Grid | None = None
    ) -> MadeRoom:
        """As `from_map`; but a room that is longer than an IR goes on in the late field."""
        lasts, width = is_infinite(values["decay"]), values["width"]
        shaped = self._shaped(room, values, INFINITE_FACTOR if lasts else None)
        grid = grid or room.grid
        seam = Seam.of(self.rate_hz, self.max_taps)
        found = None
        if values["reverse"] < 0.5:
            found = self._inputs(grid).until(shaped, width, seam, spacing_m=_spacing_m(values))
        if found is None:
            decay = decay_of(shaped, seam)
            return MadeRoom(self._whole(shaped, values, grid), late_room(decay, seam, width))
        ir, decay = found[0], replace(found[1], lasting=lasts)
        return MadeRoom(ir, late_room(decay, seam, width), tail_s(decay, seam))

    def made(self, ir: Floats, width: float) -> MadeRoom:
        """A room that is all in its IR."""
        decay = decay_of_ir(ir, self.rate_hz)
        return MadeRoom(ir, late_room(decay, Seam.of(self.rate_hz, self.max_taps), width))

    def _inputs(self, grid: Grid) -> Synthesiser | TrueStereo:
        """What makes the IRs of one source, or of two."""
        first = self._synthesiser(grid, FIRST)
        if self.is_true_stereo and self.inputs == 2:
            return TrueStereo(first, self._synthesiser(grid, SECOND))
        return first

    def from_recordings(
        self, parts: list[tuple[float, RecordedRoom]], values: dict[str, float]
    ) -> Floats:
        """The IR of recordings, interpolated by their weights, at the level of every room."""
        ir = cut(self._interpolate(parts, values), self.max_taps, self.rate_hz)
        return self._finish(normalise(ir, self.rate_hz), values)

    def from_samples(self, samples: Floats, values: dict[str, float]) -> Floats:
        """The IR of samples at the engine's rate, with the energy of the samples.

        At the defaults of the controls it is the samples themselves.
        """
        if shape_of(values).leaves_map and values["width"] == 1:
            return self._finish(samples, values)
        seconds = samples.shape[1] / self.rate_hz
        room = RecordedRoom(samples, self.rate_hz, grid=recording_grid(seconds))
        ir = self.from_recordings([(1.0, room)], values)
        gain = math.sqrt(_energy(samples) / max(_energy(ir), 1e-30))
        return np.asarray(ir * np.float32(gain))

    @property
    def longest_s(self) -> float:
        """Of an IR."""
        return self.max_taps / self.rate_hz

    def _interpolate(
        self, parts: list[tuple[float, RecordedRoom]], values: dict[str, float]
    ) -> Floats:
        shape = shape_of(values)
        ir = render_recorded(parts, shape, values["width"], self._synthesiser, self.longest_s)
        if len(ir) == 4 and self.inputs == 1:  # the one input feeds both sides
            ir = normalise(ir[:2] + ir[2:], self.rate_hz)
        return ir

    def _finish(self, ir: Floats, values: dict[str, float]) -> Floats:
        ir = cut(ir, self.max_taps, self.rate_hz)
        if values["reverse"] >= 0.5:
            ir = backwards(ir, self.rate_hz)
        return np.ascontiguousarray(ir)

    def _synthesiser(self, grid: Grid, seed: int) -> Synthesiser:
        """The synthesiser of a grid. Plug-in rooms and long rooms have grids of their own."""
        key = (grid, seed)
        synthesiser = self._synthesisers.pop(key, None) or Synthesiser(
            self.rate_hz, grid, seed, self.longest_s
        )
        self._synthesisers[key] = synthesiser
        most = 2 * GRIDS if self.is_true_stereo else GRIDS
        while len(self._synthesisers) > most:
            del self._synthesisers[next(iter(self._synthesisers))]
        return synthesiser


def _spacing_m(values: dict[str, float]) -> float:
    return (EARS_M, SPACED_M)[round(values["image"])]


def _energy(ir: Floats) -> float:
    """The energy of each input."""
    return float(np.einsum("ct,ct->", ir, ir, dtype=np.float64)) / min(len(ir), 2)
