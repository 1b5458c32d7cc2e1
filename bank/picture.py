"""Pictures of a bank or a model: the rooms that the knobs reach, in slices; a walk through them.

Desktop only: matplotlib.

| quantity   | what                                                                              |
|------------|-----------------------------------------------------------------------------------|
| T30        | reverberation time, s: ISO 3382-1, mean of the octaves 500 and 1000 Hz            |
| brightness | decay time at 4 and 8 kHz over that of the middle octaves (the Y knob)            |
| level      | energy of the room's map against the median of those shown, dB; before the pedal  |
|            | makes all rooms equally loud                                                      |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bank.format import Bank
from bank.places import knobs_of, text_of
from dsp.analysis import analyse
from dsp.energymap import EnergyMap
from dsp.errors import UserError
from models import measures, reference
from models.container import Description
from models.files import require_space, write_atomically
from models.latent import KNOB_STEPS, LATENT_HIGH, LATENT_LOW, knob_of
from models.packages import studio_import

Progress = Callable[[int, int], None]
Room = Callable[[float, float, float], EnergyMap]

LOW, HIGH = LATENT_LOW, LATENT_HIGH
KNOB_TICKS = (0, 3, 6, 9)
LABELLED = 60
"""Recordings whose numbers and names a picture shows."""
APART = 0.35
"""Numbers of recordings nearer than this, in knobs, share a label: else they overprint."""
SLICES, POINTS = 5, 13
"""Slices along Z, and points along X and Y in each slice."""
STOPS = (
    (0, 0, 0),
    (HIGH, 0, 0),
    (LOW, 0, 0),
    (0, 0, 0),
    (0, HIGH, 0),
    (0, LOW, 0),
    (0, 0, 0),
    (0, 0, HIGH),
    (0, 0, LOW),
    (0, 0, 0),
)
"""The walk: out and back along each axis, through the middle."""


@dataclass(frozen=True)
class Figures:
    """One room: T30 in s (NaN if it does not decay by 35 dB), brightness, level in dB."""

    t30_s: float
    brightness: float
    level_db: float


def figures(room: EnergyMap) -> Figures:
    """The figures that the pictures show of a room."""
    level, direct = _batch(room)
    t30 = measures.acoustics(level, direct, room.grid).t30_s[0, 3:5]
    y = float(measures.knobs(level, direct, room.grid)[0, 1])
    energy = float(
        (10 ** (level.astype(float) / 10) * room.grid.frame_s).sum()
        + (10 ** (direct.astype(float) / 10)).sum()
    )
    return Figures(
        float(t30.mean()),
        float(measures.BRIGHTNESS_CENTRE * np.exp(measures.BRIGHTNESS_STEP * y)),
        float(10 * np.log10(max(energy, 1e-30))),
    )


def _batch(room: EnergyMap) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A room as `models.measures` takes it: level_db (1, bands, frames), direct_db (1, bands)."""
    if room.direct_db is None:
        return room.level_db[None], np.full((1, room.grid.bands), -300.0, np.float32)
    return room.level_db[None], room.direct_db[None]


def rooms_of(source: Any) -> Room:
    """A function from a latent point to the room there, of a bank or a decoder.

    For a bank without rooms: the nearest waveform, analysed into a map.
    """
    if isinstance(source, Bank) and not source.steps:

        def nearest(x: float, y: float, z: float) -> EnergyMap:
            waveform = source.nearest(x, y, z)
            return analyse(waveform.samples[0], waveform.rate_hz)

        return nearest
    room: Room = source.energy_map
    return room


def draw_cube(
    source: Any, path: Path, progress: Progress | None = None
) -> dict[str, NDArray[np.float64]]:
    """Write a PNG of the cube: T30, brightness and level over X and Y at SLICES values of Z.

    Of a bank of own recordings: a map of where they are. Returns the values drawn, each
    (slices, y, x) or (recordings,). Raises UserError, BankError, ModelError, OSError, ImportError.
    """
    require_space(path, 0)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: choose a name that ends in .png")
    recordings = isinstance(source, Bank) and not source.steps and not source.interleaved
    if recordings:
        points = [waveform.at for waveform in source.waveforms]
    else:
        x = y = np.linspace(LOW, HIGH, POINTS)
        points = [(b, a, z) for z in np.linspace(LOW, HIGH, SLICES) for a in y for b in x]
    room = rooms_of(source)
    seen = []
    for number, point in enumerate(points):
        if recordings:
            waveform = source.waveforms[number]
            seen.append(figures(analyse(waveform.samples[0], waveform.rate_hz)))
        else:
            seen.append(figures(room(*point)))
        if progress:
            progress(number + 1, len(points))
    table = {
        "T30 (s)": np.array([one.t30_s for one in seen]),
        "brightness": np.array([one.brightness for one in seen]),
        "level (dB)": np.array([one.level_db for one in seen]),
    }
    table["level (dB)"] -= np.median(table["level (dB)"])
    if not recordings:
        table = {name: values.reshape(SLICES, POINTS, POINTS) for name, values in table.items()}
    figure = _scatter(source, table) if recordings else _slices(source.name, table)
    write_atomically(path, lambda file: figure.savefig(file, dpi=110, format="png"))
    return table


def _slices(name: str, table: dict[str, NDArray[np.float64]]) -> Any:
    figure = _figure((2.1 * SLICES + 1.2, 7.2))
    axes = figure.subplots(len(table), SLICES, sharex=True, sharey=True)
    for number, (row, (what, values)) in enumerate(zip(axes, table.items(), strict=True)):
        low, high = _range(values)
        for axis, picture, z in zip(row, values, np.linspace(LOW, HIGH, SLICES), strict=True):
            drawn = axis.imshow(
                picture,
                origin="lower",
                extent=(0, KNOB_STEPS, 0, KNOB_STEPS),
                vmin=low,
                vmax=high,
                cmap="viridis",
                aspect="equal",
            )
            axis.set_facecolor("0.85")  # shows where there is no value
            axis.set(xticks=KNOB_TICKS, yticks=KNOB_TICKS)
            if number == 0:
                axis.set_title(f"z = {knob_of(z):g}", fontsize=9)
            if number == len(table) - 1:
                axis.set_xlabel("x")
        row[0].set_ylabel(f"{what}\ny")
        figure.colorbar(drawn, ax=list(row), shrink=0.85)
    figure.suptitle(f"{name}: the rooms that the knobs reach")
    return figure


def _scatter(bank: Bank, table: dict[str, NDArray[np.float64]]) -> Any:
    """Where the recordings are, seen along z (y over x) and along y (z over x)."""
    knobs = np.array([knobs_of(waveform.at) for waveform in bank.waveforms])
    named = len(knobs) <= LABELLED
    figure = _figure((16.0 if named else 12.0, 7.2))
    grid = figure.add_gridspec(
        2, len(table) + named, width_ratios=[1.0] * len(table) + [1.3] * named
    )
    for column, (what, values) in enumerate(table.items()):
        low, high = _range(values)
        pair = [figure.add_subplot(grid[row, column]) for row in range(2)]
        for axis, (up, name) in zip(pair, ((1, "y"), (2, "z")), strict=True):
            drawn = axis.scatter(
                knobs[:, 0],
                knobs[:, up],
                c=values,
                vmin=low,
                vmax=high,
                cmap="viridis",
                plotnonfinite=True,
            )
            ends = (-0.5, KNOB_STEPS + 0.5)
            axis.set(xlabel="x", ylabel=name, xlim=ends, ylim=ends)
            axis.set(xticks=KNOB_TICKS, yticks=KNOB_TICKS)
            if named:
                _number(axis, knobs[:, [0, up]])
        pair[0].set_title(what)
        figure.colorbar(drawn, ax=pair, shrink=0.85)
    if named:
        side = figure.add_subplot(grid[:, len(table)])
        side.set_axis_off()
        lines = [
            f"{number:2}  {text_of(waveform.at)}  {waveform.name[:28]}"
            for number, waveform in enumerate(bank.waveforms, 1)
        ]
        size = min(9.0, 7.2 * 72 / (1.35 * (len(lines) + 2)))
        side.text(0, 1, "\n".join(lines), va="top", family="monospace", fontsize=size)
    figure.suptitle(f"{bank.name}: places of its recordings, in values of the knobs")
    return figure


def _number(axis: Any, places: NDArray[np.float64]) -> None:
    """Write the recordings' numbers, from 1, beside their places: once for those that touch."""
    groups: list[list[int]] = []
    for number, place in enumerate(places):
        near = [g for g in groups if np.abs(places[g[0]] - place).max() < APART]
        if not near:
            near = [[]]
            groups += near
        near[0].append(number)
    for group in groups:
        text = ", ".join(str(number + 1) for number in group[:6]) + (
            "" if len(group) < 7 else " ..."
        )
        side = "right" if places[group[0], 0] > KNOB_STEPS / 2 else "left"
        axis.annotate(
            text,
            places[group[0]],
            fontsize=7,
            ha=side,
            xytext=(-4 if side == "right" else 4, 3),
            textcoords="offset points",
        )


def draw_walk(
    source: Any,
    path: Path,
    *,
    frames: int = 72,
    per_second: float = 12.0,
    progress: Progress | None = None,
) -> None:
    """Write a GIF of a walk along X, Y and Z: energy over frequency and time, decay, position.

    Raises BankError, ModelError, OSError, ImportError.
    """
    require_space(path, 0)
    room = rooms_of(source)
    points = walk(frames)
    maps = []
    for number, point in enumerate(points):
        maps.append(room(*point))
        if progress:
            progress((number + 1) // 2, len(points))
    pages = []
    figure = _figure((7.2, 3.6))
    left, middle, right = figure.subplots(1, 3, width_ratios=(3, 2.4, 0.8))
    for number, (point, one) in enumerate(zip(points, maps, strict=True)):
        _page(left, middle, right, point, one)
        figure.suptitle(source.name, fontsize=9)
        figure.canvas.draw()
        pages.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
        if progress:
            progress((len(points) + number + 1) // 2, len(points))
    _write_gif(path, pages, per_second)


def draw_spectrogram(values: NDArray[np.float32], about: Description, path: Path) -> None:
    """Write a PNG of a network's raw output (`Decoder.picture`): levels over time and frequency."""
    figure = _figure((7.0, 4.0))
    axis = figure.subplots()
    if about.kind == "plug-in":
        level = (values - 1.0) * about.db_range
        hz = np.arange(len(values) + 1) * reference.RATE_HZ / reference.WINDOW
        seconds = np.arange(values.shape[1] + 1) * reference.HOP / reference.RATE_HZ
    else:
        level, hz, seconds = values - values.max(), about.grid.edge_hz, about.grid.frame_edge_s
        axis.set_yscale("log")
        axis.set_ylim(hz[1], hz[-1])
    drawn = axis.pcolormesh(seconds, hz, level, vmin=-100, vmax=0, cmap="magma", rasterized=True)
    axis.set(xlabel="s", ylabel="Hz", title=about.name)
    figure.colorbar(drawn, ax=axis, label="dB")
    write_atomically(path, lambda file: figure.savefig(file, dpi=110, format="png"))


def walk(frames: int) -> NDArray[np.float64]:
    """Points (frames, 3) along STOPS at equal distances."""
    stops = np.array(STOPS, float)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(stops, axis=0), axis=1))])
    at = np.linspace(0.0, length[-1], frames, endpoint=False)
    return np.stack([np.interp(at, length, axis) for axis in stops.T], axis=1)


def _page(left: Any, middle: Any, right: Any, point: NDArray[np.float64], room: EnergyMap) -> None:
    grid = room.grid
    level = room.level_db - room.level_db.max()
    left.clear()
    left.pcolormesh(
        grid.frame_edge_s,
        np.arange(grid.bands + 1),
        level,
        vmin=-80,
        vmax=0,
        cmap="magma",
        shading="flat",
        rasterized=True,
    )
    ticks = [hz for hz in (100, 1000, 10_000) if hz < grid.edge_hz[-1]]
    left.set_yticks(
        np.interp(ticks, grid.edge_hz, np.arange(grid.bands + 1)), [f"{hz:g}" for hz in ticks]
    )
    left.set(xlabel="s", ylabel="Hz", xlim=(0, min(2.0, grid.duration_s)))
    energy = measures.octave_energy(*_batch(room), grid)
    curves = measures.decay_curves_db(*energy)[0, 2:8:2, 1:]
    middle.clear()
    for curve, label in zip(curves, ("250", "1k", "4k"), strict=True):
        middle.plot(grid.frame_edge_s[:-1], curve, label=label, linewidth=1)
    middle.set(xlabel="s", ylabel="decay, dB", xlim=(0, min(2.0, grid.duration_s)), ylim=(-60, 0))
    middle.legend(fontsize=7, loc="upper right")
    right.clear()
    knobs = [knob_of(float(value)) for value in point]
    right.bar(("x", "y", "z"), knobs, color=("tab:blue", "tab:orange", "tab:green"))
    right.set(ylim=(0, KNOB_STEPS), yticks=KNOB_TICKS, title="knobs")
    right.tick_params(labelsize=7)


def _write_gif(path: Path, pages: Sequence[NDArray[np.uint8]], per_second: float) -> None:
    image = studio_import("PIL.Image")
    pictures = [image.fromarray(page).quantize(255) for page in pages]

    def write(file: BinaryIO) -> None:
        pictures[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=round(1000 / per_second),
            loop=0,
        )

    write_atomically(path, write)


def _figure(size: tuple[float, float]) -> Any:
    figure = studio_import("matplotlib.figure").Figure(figsize=size, layout="constrained")
    studio_import("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    return figure


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the colour scale: the quantiles 5 % and 95 %, so that outliers do not stretch it."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = np.quantile(finite, (0.05, 0.95))
    return float(low), float(max(high, low + 0.1))
