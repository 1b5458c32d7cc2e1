"""Reports on a training as one HTML file: losses, reconstructed rooms, acoustics. Desktop only."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dsp.acoustics import OCTAVES_HZ
from dsp.energymap import DEFAULT_GRID, EnergyMap
from models import axes, evaluate, generator, measures
from models.decoder import Decoder, Encoder
from models.differences import FIGURES
from models.files import write_atomically
from models.kinds import KINDS
from models.packages import studio_import
from models.train import Trained

LOSSES = {
    "decay": "decay curves, dB",
    "early": "energy from the start on, dB",
    "cells": "cells of the map, dB",
    "axes": "axes, units of the knobs",
    "colour": "colour's distribution",
}
ROOMS = 40

STYLE = """body{font:15px/1.45 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}
td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}img{max-width:100%}"""


def write(
    path: Path,
    trained: Trained,
    progress: Callable[[str, int, int, str], None],
    rooms: int = ROOMS,
) -> list[evaluate.CodecResult]:
    """Measure the trained model on `rooms` held-out rooms, write the report, return the results.

    Raises OSError.
    """
    decoder, encoder = (
        Decoder.of(trained.decoder, "decoder"),
        Encoder.of(trained.encoder, "encoder"),
    )
    drawn = generator.draw(rooms, generator.HELD_OUT_SEED)
    codecs = [evaluate.OwnCodec(decoder, encoder), evaluate.OwnCodec(decoder, encoder, 3)]
    results = evaluate.evaluate(
        evaluate.held_out(drawn),
        codecs,
        "held-out rooms",
        lambda done: progress("measuring held-out rooms", done, rooms, ""),
    )
    meaning = axes.measure(decoder)
    figures = trained.decoder.description.figures
    settings = ", ".join(f"{name} {value:g}" for name, value in vars(trained.settings).items())
    parts = [
        f"<h1>Training of {html.escape(decoder.name)}</h1>",
        f"<p>{html.escape(settings)}.</p>",
        f"<p>Decoder: {len(trained.decoder.network)} bytes, stored as "
        f"{trained.decoder.description.quantisation}, mean error "
        f"{figures['mean_error_db']:.4f} dB (worst {figures['worst_error_db']:.3f} dB) "
        "against the float network over the cube. "
        f"Encoder: {len(trained.encoder.network)} bytes, "
        f"{trained.encoder.description.quantisation}.</p>",
        "<h2>Losses</h2>",
        _picture(_losses(trained.history)),
        "<h2>Acoustics per octave</h2><p>Rooms that training has not seen, encoded, decoded, "
        "synthesised, and compared with the "
        "original after ISO 3382-1. Errors in dB are means, errors in percent medians.</p>",
        *[_table(result) for result in results],
        "<p>Rank correlation of the axes with their quantities along random lines, "
        "mean (worst line): "
        + "; ".join(
            f"{q} {m:.3f} ({w:.3f})"
            for q, m, w in zip(axes.QUANTITIES, meaning.mean, meaning.worst, strict=True)
        )
        + ".</p>",
        "<h2>Reconstructions</h2>"
        "<p>One held-out room of each kind: the drawn map, the decoded one, "
        "their decay at 125 Hz, 1 and 4 kHz "
        "(drawn dashed).</p>",
        _picture(_reconstructions(codecs[0])),
    ]
    page = (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(decoder.name)}</title>"
        f"<style>{STYLE}</style>" + "\n".join(parts) + "\n"
    )
    write_atomically(path, lambda file: file.write(page.encode()))
    return results


def _figure(width: float, height: float) -> Any:
    return studio_import("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")


def _picture(figure: Any) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=90)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'


def _losses(history: dict[str, list[float]]) -> Any:
    figure = _figure(12, 2.6)
    for plot, (name, label) in zip(figure.subplots(1, len(LOSSES)), LOSSES.items(), strict=True):
        for key, style in ((name, "-"), (f"val_{name}", "--")):
            if values := history.get(key):
                plot.semilogy(
                    np.arange(1, len(values) + 1),
                    values,
                    style,
                    label="held-out" if "val" in key else "training",
                )
        _plain_numbers(plot.yaxis)
        plot.set_title(label, fontsize=9)
        plot.set_xlabel("epoch", fontsize=8)
        plot.tick_params(labelsize=7)
        plot.grid(alpha=0.3)
    plot.legend(fontsize=7)
    return figure


def _plain_numbers(axis: Any) -> None:
    """Ticks of a log axis as 0.5 and 2, not as 5 x 10^-1; few enough to be read."""
    ticker = studio_import("matplotlib.ticker")
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def _table(result: evaluate.CodecResult) -> str:
    heads = "".join(f"<th>{centre:g} Hz</th>" for centre in OCTAVES_HZ)
    rows = []
    for figure, name in enumerate(FIGURES):
        values = [result.overall()[figure], *result.per_octave()[figure]]
        cells = "".join(
            f"<td>{'&ndash;' if np.isnan(value) else f'{value:.2f}'}</td>" for value in values
        )
        rows.append(f"<tr><td>{name}</td>{cells}</tr>")
    return (
        f"<table><tr><th>{html.escape(result.codec)}, {len(result.names)} rooms</th>"
        f"<th>all</th>{heads}</tr>" + "".join(rows) + "</table>"
    )


def _reconstructions(codec: evaluate.OwnCodec) -> Any:
    kinds = [kind for kind, (_, share) in KINDS.items() if share]
    figure = _figure(13, 2.3 * len(kinds))
    plots = figure.subplots(len(kinds), 3)
    grid = DEFAULT_GRID
    times = np.concatenate([[0.0], grid.frame_edge_s[:-1]])
    for row, kind in zip(plots, kinds, strict=True):
        level, direct = generator.energy_maps(generator.draw(1, generator.HELD_OUT_SEED + 7, kind))
        room = EnergyMap(level[0], grid, direct[0] if evaluate.room_has_direct(direct[0]) else None)
        again = codec.nearest(room)
        top = float(measures.unpack(measures.pack_map(room))[0].max())
        for plot, shown, what in ((row[0], room, "drawn"), (row[1], again, "decoded")):
            packed = measures.unpack(measures.pack_map(shown))[0][0]
            drawn = plot.pcolormesh(
                grid.frame_centre_s,
                grid.centre_hz,
                packed - top,
                vmin=-80,
                vmax=0,
                cmap="magma",
                shading="nearest",
            )
            plot.set(xscale="log", yscale="log", xlim=(0.002, 4.0))
            for axis in (plot.xaxis, plot.yaxis):
                _plain_numbers(axis)
            plot.set_xlabel("time, s", fontsize=7)
            plot.set_title(f"{kind}, {what}", fontsize=8)
            plot.tick_params(labelsize=7)
        figure.colorbar(drawn, ax=list(row[:2]), pad=0.01).set_label("dB", fontsize=7)
        for shown, style in ((room, "--"), (again, "-")):
            curves = measures.decay_curves_db(
                *measures.octave_energy(*measures.unpack(measures.pack_map(shown)))
            )[0]
            for octave, colour in ((1, "tab:blue"), (4, "tab:green"), (6, "tab:red")):
                label = f"{OCTAVES_HZ[octave]:g} Hz" if style == "-" else None
                row[2].plot(times, curves[octave], style, color=colour, lw=1, label=label)
        row[2].set(ylim=(-65, 2), xlim=(0, 4.0))
        row[2].tick_params(labelsize=7)
        row[2].grid(alpha=0.3)
        row[2].set_xlabel("time, s", fontsize=7)
        row[2].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    for row in plots:
        row[0].set_ylabel("frequency, Hz", fontsize=7)
        row[2].set_ylabel("decay, dB", fontsize=7)
    return figure
