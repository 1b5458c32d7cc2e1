"""Makes impulse responses of rooms for the engine."""

from __future__ import annotations

import hashlib
import math
import struct

import numpy as np

from bank.format import Bank
from bank.recording import at_rate, weights_at
from bank.stepped import SteppedBank
from dsp.energymap import Grid
from dsp.recorded import RecordedRoom, recording_grid
from dsp.recorded import render as render_recorded
from dsp.shaping import Shape, backwards, cut, shape_map
from dsp.synthesis import Synthesiser, normalise
from firmware_py.rooms.source import COLOURS, ROOM_CONTROLS, Floats, RoomSource
from models.latent import KNOB_STEPS, LATENT_HIGH, LATENT_LOW

PLACE_RADIUS = 0.25
"""In a bank of rooms and recordings a recording sounds this far around its place, in latent units."""


def latent(knob: float) -> float:
    """Latent coordinate of a knob value 0..9: the plug-in's law, -2 + 4 k / 9, at every point between its ten steps, too."""
    return LATENT_LOW + (LATENT_HIGH - LATENT_LOW) * knob / KNOB_STEPS


def shape_of(values: dict[str, float]) -> Shape:
    """The shape that the controls say."""
    return Shape(
        decay=values["decay"],
        size=values["size"],
        tilt_db=values["tilt"],
        early_late_db=values["early_late"],
        attack_s=values["attack"] / 1000,
        reverse=values["reverse"] >= 0.5,
    )


class RoomMaker:
    """Makes IRs for the values of the room controls. Control process and renderer; holds carriers of noise and recordings."""

    def __init__(
        self, source: RoomSource | None, rate_hz: int, max_taps: int, inputs: int = 2
    ) -> None:
        """`source`: None for `recorded` alone. `inputs`: the engine's; with one, a recording of four channels is summed to two."""
        self._source, self._inputs = source, inputs
        self._synthesisers: dict[tuple[Grid, int], Synthesiser] = {}
        self._recordings: dict[int, RecordedRoom] = {}
        self._rate_hz, self._max_taps = rate_hz, max_taps
        self._stepped = (
            SteppedBank(source, rate_hz)
            if isinstance(source, Bank) and source.interleaved
            else None
        )

    def of(self, source: RoomSource) -> RoomMaker:
        """One like this for another source; they share the carriers, which are costly to make."""
        other = RoomMaker(source, self._rate_hz, self._max_taps, self._inputs)
        other._synthesisers = self._synthesisers
        return other

    def prepare(self) -> None:
        """A piece of the work that rooms to come would wait for; to be called when nothing else is to be done."""
        any(synthesiser.prepare() for synthesiser in self._synthesisers.values())

    def fingerprint(self, values: dict[str, float]) -> int:
        """64 bits that name this room: equal for equal IRs. Never 0, which means unknown."""
        assert self._source is not None
        moved = dict(values)
        if self._stepped is not None:  # between its steps nothing changes
            moved["x"], moved["y"] = self._stepped.pair(
                values["x"], values["y"], values["z"], values["width"]
            )
            moved["z"] = moved["width"] = 0
        room = struct.pack(
            f"<{len(ROOM_CONTROLS)}d2Q",
            *(moved[c] for c in ROOM_CONTROLS),
            self._rate_hz,
            self._inputs,
        )
        digest = hashlib.blake2b(self._source.digest + room, digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1

    def ir(self, values: dict[str, float]) -> Floats:
        """The IR of the room that the controls say: float32 (1, 2 or 4 channels, taps). Raises what the source's reading does."""
        assert self._source is not None
        if self._stepped is not None:
            ir = self._stepped.ir(
                values["x"], values["y"], values["z"], values["width"], values["resampling"] >= 0.5
            )
            return self._of_samples(ir, values | {"width": 1.0})
        point = (latent(values["x"]), latent(values["y"]), latent(values["z"]))
        parts = self._recordings_at(point)
        if parts:
            return self._finished(self._render_recorded(parts, values), values)
        if getattr(self._source, "colours", 0):
            room = self._source.energy_map(*point, [values[name] for name in COLOURS])  # type: ignore[call-arg]
        else:
            room = self._source.energy_map(*point)
        room = shape_map(room, shape_of(values), self._longest_s)
        return self._finished(self._synthesiser(room.grid)(room, values["width"]), values)

    def recorded(self, samples: Floats, values: dict[str, float]) -> Floats:
        """The IR of a recording at the engine's rate, float32 (1, 2 or 4 channels, taps), under the controls: at their defaults, its
        own samples at the level of every room."""
        return normalise(self._of_samples(samples, values))

    def _of_samples(self, samples: Floats, values: dict[str, float]) -> Floats:
        """Samples under the controls, at the energy that they have."""
        if shape_of(values).leaves_map and values["width"] == 1:
            return self._finished(samples, values)
        room = RecordedRoom(
            samples, self._rate_hz, grid=recording_grid(samples.shape[1] / self._rate_hz)
        )
        ir = self._finished(self._render_recorded([(1.0, room)], values), values)
        energy = [
            float(np.einsum("ct,ct->", x, x, dtype=np.float64)) / min(len(x), 2)
            for x in (samples, ir)
        ]
        return np.asarray(ir * np.float32(math.sqrt(energy[0] / max(energy[1], 1e-30))))

    @property
    def _longest_s(self) -> float:
        return self._max_taps / self._rate_hz

    def _render_recorded(
        self, parts: list[tuple[float, RecordedRoom]], values: dict[str, float]
    ) -> Floats:
        ir = render_recorded(
            parts, shape_of(values), values["width"], self._synthesiser, self._longest_s
        )
        if len(ir) == 4 and self._inputs == 1:  # the one input feeds both sides
            ir = normalise(ir[:2] + ir[2:])
        return ir

    def _finished(self, ir: Floats, values: dict[str, float]) -> Floats:
        ir = cut(ir, self._max_taps, self._rate_hz)
        if values["reverse"] >= 0.5:
            ir = backwards(ir, self._rate_hz)
        return np.ascontiguousarray(ir)

    def _recordings_at(self, point: tuple[float, float, float]) -> list[tuple[float, RecordedRoom]]:
        """The source's recordings that sound at a point, with their weights; none where rooms of its grid do."""
        waveforms = getattr(self._source, "waveforms", [])
        if not waveforms:
            return []
        weights = weights_at([w.at for w in waveforms], point)
        if getattr(
            self._source, "steps", 0
        ):  # a bank of both: rooms everywhere, and each recording at its place
            weights = [
                (1.0, i)
                for _, i in weights[:1]
                if math.dist(waveforms[i].at, point) <= PLACE_RADIUS
            ]
        # Those that sound stay as they are; of the others one at most, for a knob that turns back.
        used = {i for _, i in weights}
        spare = [i for i in self._recordings if i not in used]
        for i in spare[:-1]:
            del self._recordings[i]
        # One grid for all: between two recordings their maps are interpolated cell by cell.
        grid = recording_grid(max(w.samples.shape[1] / w.rate_hz for w in waveforms))
        for _, i in weights:
            if i not in self._recordings:
                samples = at_rate(waveforms[i].samples, waveforms[i].rate_hz, self._rate_hz)
                self._recordings[i] = RecordedRoom(normalise(samples), self._rate_hz, grid=grid)
        return [(weight, self._recordings[i]) for weight, i in weights]

    def _synthesiser(self, grid: Grid, seed: int = 1) -> Synthesiser:
        """The synthesiser of a grid: the plug-in's rooms and longer ones have others. Its carriers take MB: the last two are kept."""
        key = (grid, seed)
        synthesiser = self._synthesisers.pop(key, None) or Synthesiser(self._rate_hz, grid, seed)
        self._synthesisers[key] = synthesiser
        while len(self._synthesisers) > 2:
            del self._synthesisers[next(iter(self._synthesisers))]
        return synthesiser
