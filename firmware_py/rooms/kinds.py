"""The kinds of rooms: one class for each, which renders the IR for the values of the controls."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from bank.format import Bank, Point
from bank.recording import at_rate, weights_at
from bank.stepped import SteppedBank
from dsp.energymap import EnergyMap, Grid
from dsp.loudness import normalise
from dsp.recorded import RecordedRoom, recording_grid
from dsp.shaping import cut
from firmware_py.rooms.encoded import EncodedRooms
from firmware_py.rooms.renderer import MadeRoom, Renderer
from firmware_py.rooms.source import COLOURS, Floats, RoomSource
from models.latent import KNOBS, LATENT_LIMIT, latent_of
from models.reflections import with_reflections
from models.residual import Residual, place_of

PLACE_RADIUS = 0.25
"""In a bank of rooms and recordings a recording plays within this distance of its place, in latent
units."""


def _point(values: dict[str, float]) -> Point:
    return latent_of(values["x"]), latent_of(values["y"]), latent_of(values["z"])


def _latent(values: dict[str, float]) -> Point:
    """The point of a room, which may be beyond the ends of the knobs."""
    x, y, z = (
        min(max(latent_of(values[axis] + values[f"beyond_{axis}"]), -LATENT_LIMIT), LATENT_LIMIT)
        for axis in "xyz"
    )
    return x, y, z


class Rooms(ABC):
    """The rooms of one source for one engine."""

    @abstractmethod
    def render(self, values: dict[str, float]) -> Floats:
        """The IR for the values of the controls, float32 (1, 2 or 4 channels, taps).

        Raises what reading the source raises.
        """

    @abstractmethod
    def made(self, values: dict[str, float]) -> MadeRoom:
        """The room for the engine: a room from a map may be longer than an IR. Raises what
        `render` raises."""

    @property
    def is_true_stereo(self) -> bool:
        """Whether these rooms depend on the renderer's `is_true_stereo`."""
        return False

    @property
    def remark(self) -> str:
        """What the engine changes of the source, for the log; "" if nothing."""
        return ""

    def distinct(self, values: dict[str, float]) -> dict[str, float]:
        """The values, changed to be equal for equal rooms."""
        return values | {"recording": 0.0, "residual": 0.0}


class EnergyRooms(Rooms):
    """An energy map at every point, changed by the residuals of encoded rooms."""

    def __init__(self, renderer: Renderer, residuals: Sequence[Residual]) -> None:
        self._renderer = renderer
        self._encoded = EncodedRooms(residuals, renderer.longest_s)

    @property
    def is_true_stereo(self) -> bool:
        """As the renderer says."""
        return self._renderer.is_true_stereo

    @abstractmethod
    def _map(self, values: dict[str, float]) -> EnergyMap:
        """The source's room for the values of the controls."""

    @abstractmethod
    def _place(self, residual: Residual) -> EnergyMap:
        """The source's room at the place of a residual."""

    def distinct(self, values: dict[str, float]) -> dict[str, float]:
        """How far residuals reach matters if there are any."""
        own = super().distinct(values)
        return own | {"residual": values["residual"]} if self._encoded else own

    def render(self, values: dict[str, float]) -> Floats:
        return self._renderer.from_map(*self._changed(values))

    def made(self, values: dict[str, float]) -> MadeRoom:
        return self._renderer.made_from_map(*self._changed(values))

    def _changed(self, values: dict[str, float]) -> tuple[EnergyMap, dict[str, float], Grid]:
        room = self._map(values)
        return self._encoded.change(room, values, self._place), values, room.grid


class MappedRooms(EnergyRooms):
    """A bank of rooms, the built-in rooms. `residual`: of the encoded room that plays; None: those
    of the bank, if it has some."""

    def __init__(
        self, source: RoomSource, renderer: Renderer, residual: Residual | None = None
    ) -> None:
        self._source = source
        own = source.residuals if isinstance(source, Bank) else ()
        super().__init__(renderer, own if residual is None else (residual,))

    def _map(self, values: dict[str, float]) -> EnergyMap:
        x, y, z = _latent(values)
        return with_reflections(self._source.energy_map(x, y, z), x, z)

    def _place(self, residual: Residual) -> EnergyMap:
        return self._source.energy_map(*place_of(residual))


@runtime_checkable
class ColouredSource(Protocol):
    """A decoder: its energy maps also depend on the colours."""

    @property
    def colours(self) -> int: ...

    def energy_map(self, x: float, y: float, z: float, colour: list[float]) -> EnergyMap: ...


class ColouredRooms(EnergyRooms):
    """A decoder's rooms, for all colours."""

    def __init__(
        self, source: ColouredSource, renderer: Renderer, residual: Residual | None = None
    ) -> None:
        self._source = source
        super().__init__(renderer, () if residual is None else (residual,))

    def _map(self, values: dict[str, float]) -> EnergyMap:
        colour = [values[name] for name in COLOURS]
        x, y, z = _latent(values)
        return with_reflections(self._source.energy_map(x, y, z, colour), x, z)

    def _place(self, residual: Residual) -> EnergyMap:
        return self._source.energy_map(*place_of(residual), residual.latent[KNOBS:].tolist())


class Recordings:
    """The recordings of a bank, split into bands when they are first needed."""

    def __init__(self, bank: Bank, rate_hz: int, max_taps: int) -> None:
        self._waveforms, self._rate_hz, self._max_taps = bank.waveforms, rate_hz, max_taps
        # One grid for all, so that maps can be interpolated cell by cell.
        self._grid = recording_grid(max(w.taps / w.rate_hz for w in self._waveforms))
        self._places = np.array([w.at for w in self._waveforms], np.float64)
        self._rooms: dict[int, RecordedRoom] = {}

    @property
    def remark(self) -> str:
        """Which recordings are cut; see `Rooms.remark`."""
        longest_s = self._max_taps / self._rate_hz
        cut_short = sum(w.taps / w.rate_hz > longest_s + 0.001 for w in self._waveforms)
        if not cut_short:
            return ""
        return (
            f"{cut_short} of {len(self._waveforms)} recordings are longer than {longest_s:g} s "
            "and cut there: `nverb settings set max_ir_s=10` plays up to 10 s"
        )

    def chosen(self, values: dict[str, float]) -> int | None:
        """The number of the recording that the control asks for; None if x, y and z choose.

        It counts from 1, and after the last one from the first again: a knob always finds one.
        """
        number = round(values["recording"])
        return (number - 1) % len(self._waveforms) if number else None

    def weights(self, point: Point) -> list[tuple[float, int]]:
        """Weights and numbers of the recordings at a point, greatest weight first."""
        return weights_at(self._places, point)

    def distance(self, number: int, point: Point) -> float:
        return math.dist(self._waveforms[number].at, point)

    def load(self, weights: list[tuple[float, int]]) -> list[tuple[float, RecordedRoom]]:
        """The recordings of these weights. One more stays in memory, for a knob that turns back."""
        used = {i for _, i in weights}
        spare = [i for i in self._rooms if i not in used]
        for i in spare[:-1]:
            del self._rooms[i]
        return [(weight, self._room(i)) for weight, i in weights]

    def _room(self, number: int) -> RecordedRoom:
        if number not in self._rooms:
            waveform = self._waveforms[number]
            samples = at_rate(waveform.samples, waveform.rate_hz, self._rate_hz)
            # First cut, then brought to the level of every room: what is cut has no part in it.
            samples = normalise(cut(samples, self._max_taps, self._rate_hz), self._rate_hz)
            self._rooms[number] = RecordedRoom(samples, self._rate_hz, grid=self._grid)
        return self._rooms[number]


class RecordedRooms(Rooms):
    """A bank of recordings: at every point an interpolation between the nearest two."""

    def __init__(self, bank: Bank, renderer: Renderer) -> None:
        self._renderer = renderer
        self._recordings = Recordings(bank, renderer.rate_hz, renderer.max_taps)

    @property
    def remark(self) -> str:
        """What is cut."""
        return self._recordings.remark

    def distinct(self, values: dict[str, float]) -> dict[str, float]:
        """All controls count; of x, y and z only if they choose the recording."""
        if self._recordings.chosen(values) is None:
            return values
        return values | {"x": 0.0, "y": 0.0, "z": 0.0}

    def render(self, values: dict[str, float]) -> Floats:
        chosen = self._recordings.chosen(values)
        weights = self._recordings.weights(_point(values)) if chosen is None else [(1.0, chosen)]
        parts = self._recordings.load(weights)
        return self._renderer.from_recordings(parts, values)

    def made(self, values: dict[str, float]) -> MadeRoom:
        return self._renderer.made(self.render(values), values["width"])


class MixedRooms(RecordedRooms):
    """A bank of rooms and recordings: a recording near its place, elsewhere an energy map."""

    def __init__(self, bank: Bank, renderer: Renderer, residual: Residual | None = None) -> None:
        super().__init__(bank, renderer)
        self._mapped = MappedRooms(bank, renderer, residual)

    @property
    def is_true_stereo(self) -> bool:
        """As the renderer says."""
        return self._mapped.is_true_stereo

    def render(self, values: dict[str, float]) -> Floats:
        parts = self._near(values)
        if not parts:
            return self._mapped.render(values)
        return self._renderer.from_recordings(parts, values)

    def made(self, values: dict[str, float]) -> MadeRoom:
        parts = self._near(values)
        if not parts:
            return self._mapped.made(values)
        ir = self._renderer.from_recordings(parts, values)
        return self._renderer.made(ir, values["width"])

    def _near(self, values: dict[str, float]) -> list[tuple[float, RecordedRoom]]:
        """The recording that plays; none far from all."""
        point = _point(values)
        chosen = self._recordings.chosen(values)
        nearest = self._recordings.weights(point)[0][1] if chosen is None else chosen
        near = chosen is not None or self._recordings.distance(nearest, point) <= PLACE_RADIUS
        return self._recordings.load([(1.0, nearest)] if near else [])


class SteppedRooms(Rooms):
    """The plug-in's bank, played like the plug-in: see `bank.stepped`."""

    def __init__(self, bank: Bank, renderer: Renderer) -> None:
        self._bank, self._renderer = SteppedBank(bank, renderer.rate_hz), renderer

    def render(self, values: dict[str, float]) -> Floats:
        resampling = values["resampling"] >= 0.5
        ir = self._bank.ir(values["x"], values["y"], values["z"], values["width"], resampling)
        return self._renderer.from_samples(ir, values | {"width": 1.0})

    def made(self, values: dict[str, float]) -> MadeRoom:
        return self._renderer.made(self.render(values), values["width"])

    def distinct(self, values: dict[str, float]) -> dict[str, float]:
        """Between two steps the room is the same."""
        left, right = self._bank.pair(values["x"], values["y"], values["z"], values["width"])
        return super().distinct(values) | {
            "x": left,
            "y": right,
            "z": 0,
            "width": 0,
            "image": 0,
        }


def rooms_of(source: RoomSource, renderer: Renderer, residual: Residual | None = None) -> Rooms:
    """The rooms of a source. A new kind of source is a new class and a line here.

    `residual`: of an encoded room (recordings have none).
    """
    if isinstance(source, Bank):
        if source.interleaved:
            return SteppedRooms(source, renderer)
        if source.waveforms and source.steps:
            return MixedRooms(source, renderer, residual)
        if source.waveforms:
            return RecordedRooms(source, renderer)
    elif isinstance(source, ColouredSource):
        return ColouredRooms(source, renderer, residual)
    return MappedRooms(source, renderer, residual)
