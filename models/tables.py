"""The results of `models.evaluate` as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import OCTAVES_HZ
from models.axes import QUANTITIES, Axes
from models.differences import FIGURES, JND_FIGURES
from models.evaluate import SYNTHESIS_FIGURES, CodecResult

Table = NDArray[np.float64]


def as_json(
    results: Sequence[CodecResult], alone: Table | None, axes: Axes | None = None
) -> dict[str, object]:
    """All figures, as JSON."""

    def plain(values: Table) -> list[float | None]:
        return [None if np.isnan(value) else round(float(value), 4) for value in values]

    return {
        "octaves_hz": list(OCTAVES_HZ),
        "models": [
            {
                "model": result.codec,
                "rooms": result.what,
                "count": len(result.names),
                "judged": {
                    name: None if np.isnan(value) else round(value, 4)
                    for name, value in result.judged().items()
                },
                "overall": dict(zip(FIGURES, plain(result.overall()), strict=True)),
                "per_octave": {
                    name: plain(row) for name, row in zip(FIGURES, result.per_octave(), strict=True)
                },
            }
            for result in results
        ],
        "synthesis": None
        if alone is None
        else dict(zip(SYNTHESIS_FIGURES, plain(alone), strict=True)),
        "axes_spearman": None
        if axes is None
        else {"mean": plain(axes.mean), "worst": plain(axes.worst)},
    }


def as_text(
    results: Sequence[CodecResult], alone: Table | None, axes: Axes | None = None
) -> list[str]:
    """Tables of text: all models side by side, for each set of rooms."""
    lines = []
    for what in dict.fromkeys(result.what for result in results):
        rows = [result for result in results if result.what == what]
        lines.append(f"{what}: {len(rows[0].names)} (dB: mean error, %: median error)")
        lines.append(
            f"  {'':32} {'all':>8}" + "".join(f"{_hertz(centre):>8}" for centre in OCTAVES_HZ)
        )
        for figure, name in enumerate(FIGURES):
            for result in rows:
                values = [result.overall()[figure], *result.per_octave()[figure]]
                cells = "".join(
                    f"{'-' if np.isnan(value) else f'{value:.2f}':>8}" for value in values
                )
                lines.append(f"  {name:8}{result.codec[-24:]:>24} {cells}")
        lines += [_judged_text(result) for result in rows]
    if alone is not None:
        lines.append(
            "synthesis alone: "
            + ", ".join(f"{n} {v:.2f}" for n, v in zip(SYNTHESIS_FIGURES, alone, strict=True))
        )
    if axes is not None:
        marks = [
            f"{q} {m:.3f} ({w:.3f})"
            for q, m, w in zip(QUANTITIES, axes.mean, axes.worst, strict=True)
        ]
        lines.append("rank correlation along random lines, mean (worst line): " + ", ".join(marks))
    return lines


def _judged_text(result: CodecResult) -> str:
    judged = result.judged()
    medians = ", ".join(f"{name.split()[0]} {judged[name]:.2f}" for name in FIGURES[:4])
    shares = " / ".join(
        f"{judged[f'{name.split()[0]} within JND %']:.0f}" for name in FIGURES[JND_FIGURES]
    )
    return (
        f"  {result.codec}, medians from 125 Hz: {medians}; within the JND T30 / EDT / C50: "
        f"{shares} %; in all three {judged['rooms within JND']:.0f} of {len(result.names)} rooms"
    )


def _hertz(hz: float) -> str:
    return f"{hz / 1000:g}k" if hz >= 1000 else f"{hz:g}"
