"""What was measured, as text and as a page."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bank.browse import picture, spectrogram, waveform
from dsp.acoustics import OCTAVES_HZ, RoomAcoustics, bend, sway
from firmware_py.measure.result import Measured, Path

ROWS = (
    ("T30", "t30_s", "{:.2f}"),
    ("EDT", "edt_s", "{:.2f}"),
    ("C50", "c50_db", "{:.1f}"),
    ("range", "range_db", "{:.0f}"),
)
NEEDED_DB = {"t30_s": 43.0, "edt_s": 20.0, "c50_db": 20.0, "range_db": -math.inf}
"""Range of an octave without which a figure means little: what the noise hides below T30's -35 dB
is part of the curve there, too."""
MOST_BENT = 0.01
"""A decay that is farther from a straight line has no T30 (ISO 3382-2, B.2)."""
MOST_SWAY = 0.05
"""An EDT that changes more by a level error of acoustics.SWAY_DB says nothing: the curve has a step
there, as behind a strong direct sound."""
LATE_DB = 10.0
"""C50 needs a late sound that is so much above what the noise masks."""


def figures(own: RoomAcoustics) -> dict[str, NDArray[np.float64]]:
    """The figures by the names of ROWS, NaN where the noise masks them or there are none."""
    enough = np.nan_to_num(own.range_db, nan=math.inf)  # without a knee there is no noise
    found = {
        name: np.where(enough >= NEEDED_DB[name], getattr(own, name), np.nan) for _, name, _ in ROWS
    }
    found["c50_db"] = np.where(own.c50_db <= enough - LATE_DB, found["c50_db"], np.nan)
    bent = np.array([bend(curve_db, -5.0, -35.0) for curve_db in own.curve_db])
    found["t30_s"] = np.where(bent <= MOST_BENT, found["t30_s"], np.nan)
    swaying = np.array([sway(curve_db, 0.0, -10.0) for curve_db in own.curve_db])
    found["edt_s"] = np.where(swaying <= MOST_SWAY, found["edt_s"], np.nan)
    return found


def summary(measured: Measured) -> str:
    """One line, for the file's own metadata too."""
    plan = measured.plan
    return (
        f"{len(measured.samples)} ch, {measured.samples.shape[1] / measured.rate_hz:.2f} s, "
        f"{measured.rate_hz} Hz; sweep {plan.sweep_s:.1f} s at {plan.level_db:.0f} dBFS, range "
        f"{measured.range_db:.0f} dB, continued to {measured.floor_db:.0f} dB"
    )


def as_text(measured: Measured, knobs: Mapping[str, float] | None) -> str:
    """For a terminal."""
    lines = [summary(measured)]
    for path in measured.paths:
        lines += ["", _title(path), "        " + "".join(f"{_hz(hz):>7}" for hz in OCTAVES_HZ)]
        values = figures(path.figures)
        for label, name, pattern in ROWS:
            cells = "".join(f"{_cell(value, pattern):>7}" for value in values[name])
            lines.append(f"{label:8}{cells}")
    lines += ["", f"delay {1000 * measured.delay_s:.2f} ms; {_level_text(measured)}"]
    if knobs:
        lines.append("nearest knobs " + "  ".join(f"{n} {v:.2f}" for n, v in knobs.items()))
    lines += [f"! {remark}" for remark in measured.remarks]
    return "\n".join(lines)


def _title(path: Path) -> str:
    take = path.take
    shares = ", ".join(f"{n}: {100 * v:.2g} %" for n, v in take.distortion.share.items())
    return (
        f"output {path.output + 1} to input {path.input + 1}: range {take.range_db:.0f} dB, noise "
        f"{take.noise_db:.0f} dBFS, peak {20 * math.log10(max(take.peak, 1e-9)):.0f} dBFS, "
        f"harmonics {shares or 'not measured'}"
    )


def _level_text(measured: Measured) -> str:
    return (
        f"level {measured.plan.level_db:.0f} dBFS: {measured.plan.sign}; {measured.takes} "
        f"sweeps, {measured.sound_s:.0f} s of sound in all"
    )


def _hz(hz: float) -> str:
    return f"{hz:g}" if hz < 1000 else f"{hz / 1000:g}k"


def _cell(value: float, pattern: str) -> str:
    return pattern.format(value) if math.isfinite(value) else "-"


def as_json(measured: Measured, knobs: Mapping[str, float] | None) -> dict[str, Any]:
    """For programs."""

    def numbers(values: NDArray[np.float64]) -> list[float | None]:
        return [round(float(v), 4) if math.isfinite(v) else None for v in values]

    plan = measured.plan
    return {
        "summary": summary(measured),
        "channels": len(measured.samples),
        "rate_hz": measured.rate_hz,
        "seconds": round(measured.samples.shape[1] / measured.rate_hz, 4),
        "sweep_s": round(plan.sweep_s, 3),
        "level_db": plan.level_db,
        "level_reason": plan.sign,
        "delay_s": round(measured.delay_s, 6),
        "sound_s": round(measured.sound_s, 2),
        "floor_db": round(measured.floor_db, 2),
        "octaves_hz": list(OCTAVES_HZ),
        "knobs": dict(knobs or {}),
        "remarks": list(measured.remarks),
        "paths": [
            {
                "output": path.output + 1,
                "input": path.input + 1,
                "range_db": round(path.take.range_db, 2),
                "distortion": {str(n): round(v, 6) for n, v in path.take.distortion.share.items()},
                "clock_ppm": round(1e6 * (1 / path.take.ratio - 1), 3),
                "octaves": {
                    name: numbers(values) for name, values in figures(path.figures).items()
                },
            }
            for path in measured.paths
        ],
    }


def as_page(measured: Measured, knobs: Mapping[str, float] | None, title: str, at: datetime) -> str:
    """For a browser, without a network."""
    parts = []
    for path, channel in zip(measured.paths, measured.samples, strict=True):
        values = figures(path.figures)
        rows = "".join(
            f"<tr><th>{label}</th>"
            + "".join(f"<td>{_cell(value, pattern)}</td>" for value in values[name])
            + "</tr>"
            for label, name, pattern in ROWS
        )
        shades = picture(spectrogram(channel, measured.rate_hz))
        parts.append(
            f"<h2>{html.escape(_title(path))}</h2>{waveform(channel[None])}"
            f'<img alt="spectrogram" src="{shades}">'
            f"<table><tr><th></th>{''.join(f'<th>{_hz(hz)}</th>' for hz in OCTAVES_HZ)}</tr>"
            f"{rows}</table>"
        )
    remarks = "".join(f"<li>{html.escape(remark)}</li>" for remark in measured.remarks)
    place = "  ".join(f"{name} {value:.2f}" for name, value in (knobs or {}).items())
    return _PAGE.format(
        title=html.escape(title),
        at=at.strftime("%Y-%m-%d %H:%M"),
        summary=html.escape(summary(measured)),
        level=html.escape(_level_text(measured)),
        delay=f"{1000 * measured.delay_s:.2f}",
        knobs=html.escape(place or "not known"),
        remarks=f"<h2>What went wrong</h2><ul>{remarks}</ul>" if remarks else "",
        parts="\n".join(parts),
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 14px/1.4 sans-serif; margin: 1em; }}
table {{ border-collapse: collapse; margin: 1em 0; }}
td, th {{ padding: 4px 8px; border-bottom: 1px solid #ccc; text-align: right; }}
polygon {{ fill: #357; }} svg, img {{ margin-right: 1em; }} h2 {{ font-size: 1em; }}
</style></head><body><h1>{title}</h1>
<p>{at}; {summary}; {level}; delay {delay} ms; nearest knobs {knobs}</p>
{remarks}
{parts}
<p>T30 and EDT in s, C50 in dB (ISO 3382-1), and how many dB of the decay are above the noise, in
each octave.</p>
</body></html>
"""
