"""Measures how well a model reproduces rooms.

A room is encoded, decoded, synthesised, and compared with the original after ISO 3382-1:

    original (a recording, or a drawn room synthesised) -> map -> latents, residual -> map -> IR

The fit is that of `nverb encode` (models.encoding), and both sides of the IR that the pedal plays
are measured.

NumPy and a TFLite runtime. Called by `nverb model eval` and by the training's report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dsp import acoustics
from dsp.analysis import analyse
from dsp.energymap import DEFAULT_GRID, EnergyMap, Grid
from dsp.synthesis import LONGEST_S, Synthesiser
from models import generator, measures
from models.decoder import Decoder, Encoder
from models.differences import (
    CURVE_BOTTOM_DB,
    FIGURES,
    JND,
    JND_FIGURES,
    JND_OCTAVES,
    differences,
)
from models.encoding import encode
from models.latent import KNOBS, LATENT_HIGH, LATENT_LOW, LATENTS
from models.measures import RATE_HZ

Floats = NDArray[np.float32]
Table = NDArray[np.float64]


WIDTH = 1.0
"""At which rooms are played."""


@dataclass(frozen=True)
class Original:
    """A room to encode: `ir` mono float32 (taps,) from its onset on, `rate_hz`, and its map."""

    name: str
    ir: Floats
    rate_hz: int
    room: EnergyMap


class Codec(Protocol):
    """Reproduces a room from a few numbers."""

    name: str

    def __call__(self, original: Original) -> EnergyMap:
        """The nearest room that the codec can make."""


class EncodedCodec:
    """What `nverb encode` keeps of a room: latents and residual."""

    def __init__(self, decoder: Decoder, encoder: Encoder) -> None:
        self._decoder, self._encoder = decoder, encoder
        self.name = f"{decoder.name}, encoded"

    def __call__(self, original: Original) -> EnergyMap:
        if original.rate_hz != RATE_HZ:
            raise ValueError(f"{original.name} at {original.rate_hz} Hz instead of {RATE_HZ}")
        return encode(original.ir, self._decoder, self._encoder, width=WIDTH).room


class OwnCodec:
    """The model's encoder and decoder. `latents`: 8, or 3 for the knobs alone, without colours."""

    def __init__(self, decoder: Decoder, encoder: Encoder, latents: int = LATENTS) -> None:
        self._decoder, self._encoder, self._latents = decoder, encoder, latents
        self.name = f"{decoder.name}, {latents} latents"
        self.found: list[Floats] = []

    def __call__(self, original: Original) -> EnergyMap:
        return self.nearest(original.room)

    def nearest(self, room: EnergyMap) -> EnergyMap:
        """The decoder's room that is nearest to a map."""
        latent, _ = self._encoder.encode(room, self._decoder, latents=self._latents)
        self.found.append(latent)
        return decode(self._decoder, latent)


def decode(decoder: Decoder, latent: NDArray[np.floating[Any]]) -> EnergyMap:
    """The decoder's room at a latent of 3 values or more."""
    x, y, z, *colour = (float(value) for value in latent)
    return decoder.energy_map(x, y, z, colour=colour)


class SearchCodec:
    """Any decoder of three latents, such as the plug-in's.

    Takes the nearest decay curves of a table, then searches around that point.
    """

    def __init__(
        self, decoder: Decoder, steps: int = 11, progress: Callable[[int, int], None] | None = None
    ) -> None:
        self._decoder = decoder
        self.name = f"{decoder.name}, 3 latents"
        axis = np.linspace(LATENT_LOW, LATENT_HIGH, steps)
        self._points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        self._step = float(axis[1] - axis[0])
        table = []
        for number, point in enumerate(self._points, 1):
            table.append(curves_db(decode(decoder, point)))
            if progress:
                progress(number, len(self._points))
        self._table = np.stack(table)

    def __call__(self, original: Original) -> EnergyMap:
        wanted = curves_db(original.room)
        heard = wanted > CURVE_BOTTOM_DB
        errors = np.abs(self._table - wanted)[:, heard].mean(axis=1)
        best, error = self._points[errors.argmin()], float(errors.min())
        step = self._step / 2
        while step > 0.04:
            moved = False
            for axis in range(KNOBS):
                for sign in (-1.0, 1.0):
                    point = best.copy()
                    point[axis] = np.clip(point[axis] + sign * step, LATENT_LOW, LATENT_HIGH)
                    tried = np.abs(curves_db(decode(self._decoder, point)) - wanted)[heard].mean()
                    if tried < error:
                        best, error, moved = point, float(tried), True
            if not moved:
                step /= 2
        return decode(self._decoder, best)


_CURVE_S = np.arange(0.0, 4.0, 0.01)


def curves_db(room: EnergyMap) -> Table:
    """Decay curves of a map on any grid, (octaves, 400), in steps of 10 ms, for the search.

    Octaves above the grid are at 0 dB.
    """
    frames = measures.octave_matrix(room.grid) @ (
        measures.power(room.level_db) * room.grid.frame_s.astype(np.float32)
    )
    left = np.concatenate(
        [np.cumsum(frames[:, ::-1], axis=1)[:, ::-1], np.zeros((len(frames), 1))], axis=1
    )
    at = np.stack([np.interp(_CURVE_S, room.grid.frame_edge_s, row) for row in left])
    if room.direct_db is not None:
        at[:, 0] += measures.octave_matrix(room.grid) @ measures.power(room.direct_db)
    total = at[:, :1]
    return np.where(total > 0, 10 * np.log10(np.maximum(at / np.maximum(total, 1e-30), 1e-12)), 0.0)


def original(name: str, ir: Floats, rate_hz: int) -> Original:
    """A recorded mono IR as an original: from its onset, at most as long as an IR.

    Raises InvalidValue for silence.
    """
    begin = acoustics.onset(ir)
    sound = np.ascontiguousarray(ir[begin : begin + int(LONGEST_S * rate_hz)])
    return Original(name, sound, rate_hz, analyse(sound, rate_hz, start=0))


def held_out(rooms: generator.RoomParameters) -> Iterable[Original]:
    """Drawn rooms as originals: their maps, synthesised."""
    synthesise = Synthesiser(RATE_HZ)
    levels, directs = generator.energy_maps(rooms)
    for number, (level, direct) in enumerate(zip(levels, directs, strict=True)):
        room = EnergyMap(level, DEFAULT_GRID, direct if room_has_direct(direct) else None)
        yield Original(f"room {number}", synthesise(room, width=0.0)[0], RATE_HZ, room)


def room_has_direct(direct_db: Floats) -> bool:
    """Whether a drawn room has a direct sound: above -60 dB of the room's energy."""
    return bool(10 * np.log10(measures.power(direct_db).sum()) > -60.0)


@dataclass(frozen=True)
class CodecResult:
    """A codec's results for a set of originals.

    `table`: float64 (rooms, figures, octaves) of absolute differences.
    """

    codec: str
    what: str
    names: list[str]
    table: Table

    def per_octave(self) -> Table:
        """(figures, octaves): medians of errors in percent, means of errors in dB."""
        with np.errstate(all="ignore"):
            return np.stack(
                [self._middle(self.table[:, figure], figure) for figure in range(len(FIGURES))]
            )

    def overall(self) -> Table:
        """(figures,): the same over all octaves."""
        return np.array(
            [
                float(self._middle(self.table[:, figure].reshape(-1, 1), figure)[0])
                for figure in range(len(FIGURES))
            ]
        )

    def room_medians(self) -> Table:
        """(rooms, figures): medians over the octaves of JND_OCTAVES."""
        return _medians(self.table[:, :, JND_OCTAVES], axis=2)

    def judged(self) -> dict[str, float]:
        """Medians over rooms and octaves, and what a listener cannot tell apart, in percent of all
        octaves; rooms count if their medians of T30, EDT and C50 are all within the JND."""
        octaves = self.table[:, JND_FIGURES, JND_OCTAVES]
        with np.errstate(invalid="ignore"):
            within = octaves <= JND[:, None]
            rooms = (self.room_medians()[:, JND_FIGURES] <= JND).all(axis=1)
        shares = 100.0 * within.sum(axis=(0, 2)) / np.maximum((~np.isnan(octaves)).sum((0, 2)), 1)
        middle = _medians(np.moveaxis(self.table[:, :4, JND_OCTAVES], 1, 2).reshape(-1, 4), axis=0)
        return {
            **{name: float(value) for name, value in zip(FIGURES[:4], middle, strict=True)},
            **{
                f"{name.split()[0]} within JND %": float(share)
                for name, share in zip(FIGURES[JND_FIGURES], shares, strict=True)
            },
            "rooms within JND": float(rooms.sum()),
        }

    @staticmethod
    def _middle(values: Table, figure: int) -> Table:
        import warnings

        with warnings.catch_warnings():  # NumPy warns about an octave in which no room has a figure
            warnings.simplefilter("ignore", RuntimeWarning)
            return np.asarray(
                (np.nanmedian if "%" in FIGURES[figure] else np.nanmean)(values, axis=0)
            )


def _medians(values: Table, axis: int) -> Table:
    """Medians of what can be compared."""
    import warnings

    with warnings.catch_warnings():  # NumPy warns where nothing can
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(values, axis=axis))


def evaluate(
    originals: Iterable[Original],
    codecs: Sequence[Codec],
    what: str,
    progress: Callable[[int], None] = lambda done: None,
) -> list[CodecResult]:
    """Measure every original with every codec."""
    synthesisers: dict[Grid, Synthesiser] = {}
    names: list[str] = []
    tables: list[list[Table]] = [[] for _ in codecs]
    for each in originals:
        wanted = acoustics.measure(each.ir, each.rate_hz, start=0)
        for codec, table in zip(codecs, tables, strict=True):
            room = codec(each)
            synthesise = synthesisers.setdefault(room.grid, Synthesiser(RATE_HZ, room.grid))
            sides = [
                differences(acoustics.measure(side, RATE_HZ, start=0), wanted)
                for side in synthesise(room, WIDTH)
            ]
            table.append(np.asarray(np.mean(sides, axis=0)))
        names.append(each.name)
        progress(len(names))
    return [
        CodecResult(codec.name, what, names, np.stack(table))
        for codec, table in zip(codecs, tables, strict=True)
    ]


BLOCK_S = 0.3
"""The synthesis' energies are compared in blocks of this length and pairs of bands: single cells
vary as in a real room.
"""
CELL_BOTTOM_DB = -60.0
STEEPEST_DB = 20.0
"""Cells this far below the block before them are left out: there the ringing of the filters that
measure narrow bands is louder.
"""

SYNTHESIS_FIGURES = ("band energy dB", "T30 %", "buzz dB", "onset rise ms")


def synthesis(
    rooms: generator.RoomParameters, progress: Callable[[int], None] = lambda done: None
) -> Table:
    """The error of the synthesis itself on drawn rooms: float64 (SYNTHESIS_FIGURES,).

    | figure      | what                                                                         |
    |-------------|------------------------------------------------------------------------------|
    | band energy | mean |difference| to the map over all blocks of BLOCK_S and pairs of bands,  |
    |             | down to 60 dB under a room's loudest cell; without the direct sound, whose   |
    |             | ringing in the measuring filters masks such low levels                       |
    | T30         | median |difference| to the decay of the map itself                           |
    | buzz        | mean of `hop_buzz_db`: modulation of the envelope at the frame rate          |
    | onset rise  | longest time from a tenth of the peak to the peak, over the rooms whose      |
    |             | direct sound is their loudest part                                           |
    """
    synthesise = Synthesiser(RATE_HZ)
    levels, directs = generator.energy_maps(rooms)
    wanted = measures.acoustics(levels, directs)
    bands, times, buzzes, rises = [], [], [], []
    for row, (level, direct) in enumerate(zip(levels, directs, strict=True)):
        room = EnergyMap(level, DEFAULT_GRID, direct if room_has_direct(direct) else None)
        ir = synthesise(room, width=0.0)[0]
        bare = EnergyMap(level, DEFAULT_GRID)
        bands.append(band_energy_errors_db(synthesise(bare, width=0.0)[0], RATE_HZ, bare))
        measured = acoustics.measure(ir, RATE_HZ, start=0)
        times.append(100.0 * np.abs(measured.t30_s / wanted.t30_s[row] - 1.0))
        buzzes.append(hop_buzz_db(ir, RATE_HZ, room.grid))
        if (
            measures.power(direct).sum()
            > 0.5 * (measures.power(level) * DEFAULT_GRID.frame_s[:4].mean()).sum(axis=0).max()
        ):
            rises.append(onset_rise_ms(ir, RATE_HZ))
        progress(row + 1)
    return np.array(
        [
            np.concatenate(bands).mean(),
            np.nanmedian(times),
            np.nanmean(buzzes),
            max(rises, default=np.nan),
        ]
    )


def band_energy_errors_db(ir: Floats, rate_hz: int, room: EnergyMap) -> Table:
    """|difference| between the energies of an IR and of its map, dB, (cells,).

    In blocks of BLOCK_S and pairs of bands. Leaves out the map's last block, in which a full-length
    IR is faded out, and cells that fall by STEEPEST_DB or more.
    """
    grid = room.grid
    blocks = int(grid.duration_s / BLOCK_S)
    edges = np.arange(blocks + 1) * BLOCK_S
    coarse = Grid(grid.bands, blocks, grid.lowest_hz, grid.highest_hz, BLOCK_S, blocks * BLOCK_S)
    found = analyse(ir, rate_hz, coarse, start=0, clean=False)
    got = measures.power(found.level_db) * BLOCK_S
    total = np.concatenate(
        [
            np.zeros((grid.bands, 1)),
            np.cumsum(measures.power(room.level_db) * grid.frame_s, axis=1),
        ],
        axis=1,
    )
    wanted = np.diff(np.stack([np.interp(edges, grid.frame_edge_s, row) for row in total]), axis=1)
    for energies, direct in ((got, found.direct_db), (wanted, room.direct_db)):
        if direct is not None:
            energies[:, 0] += measures.power(direct)
    got, wanted = (
        energies.reshape(grid.bands // 2, 2, blocks).sum(axis=1) for energies in (got, wanted)
    )
    heard = wanted > wanted.max() * 10 ** (CELL_BOTTOM_DB / 10)
    heard[:, -1] = False
    heard[:, 1:] &= wanted[:, 1:] > wanted[:, :-1] * 10 ** (-STEEPEST_DB / 10)
    error = 10 * np.log10(np.maximum(got, 1e-30) / np.maximum(wanted, 1e-30))
    gain = 10 * np.log10(got.sum() / wanted.sum())
    return np.asarray(np.abs(error - gain)[heard])


def hop_buzz_db(ir: Floats, rate_hz: int, grid: Grid) -> float:
    """Modulation of the envelope at 1 to 4 times the frame rate, over that at nearby rates; dB.

    0 means no buzz. The envelope of 500 .. 4000 Hz, divided by its trend, is read at 16 points per
    frame, so that all frames have the same length. NaN for an IR with fewer than 32 frames that
    last at least 4 ms and are less than 60 dB down.
    """
    spectrum = np.fft.rfft(ir.astype(np.float64))
    hz = np.fft.rfftfreq(len(ir), 1 / rate_hz)
    spectrum[(hz < 500) | (hz > 4000)] = 0
    energy = np.fft.irfft(spectrum, len(ir)) ** 2
    total = np.concatenate([[0.0], np.cumsum(energy)])
    frames = np.flatnonzero((grid.frame_s >= 0.004) & (grid.frame_edge_s[1:] < len(ir) / rate_hz))
    if len(frames) < 32:
        return float("nan")
    points = 16
    share = np.arange(points) / points
    edges = (grid.frame_edge_s[frames, None] + grid.frame_s[frames, None] * share).ravel()
    edges = np.append(edges, grid.frame_edge_s[frames[-1] + 1])
    envelope = np.diff(np.interp(edges * rate_hz, np.arange(len(total)), total)) / np.diff(edges)
    # The trend is the mean over five frames: it contains nothing periodic in a frame.
    kernel = np.ones(5 * points) / (5 * points)
    trend = np.convolve(envelope, kernel, "same")
    keep = slice(3 * points, -3 * points)
    alive = trend[keep] > trend[keep].max() * 1e-6
    if alive.sum() < 26 * points:
        return float("nan")
    ripple = (envelope[keep][alive] / np.maximum(trend[keep][alive], 1e-30)) - 1.0
    ripple = ripple[: len(ripple) // points * points]
    power = np.abs(np.fft.rfft(ripple * np.hanning(len(ripple)))) ** 2
    turns = np.arange(len(power)) * points / len(ripple)  # per frame
    ratios = []
    for harmonic in (1, 2, 3, 4):
        off = np.abs(turns - harmonic)
        ratios.append(power[off < 0.05].mean() / power[(off > 0.1) & (off < 0.4)].mean())
    return float(10 * np.log10(np.mean(ratios)))


def onset_rise_ms(ir: Floats, rate_hz: int) -> float:
    """From a tenth of the peak to the peak, ms."""
    level = np.abs(ir)
    peak = int(level.argmax())
    return float((peak - np.argmax(level >= 0.1 * level[peak])) * 1000.0 / rate_hz)
