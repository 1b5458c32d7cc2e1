"""`nverb bench change`: what a change of room does to the level of what rings.

The kernel alone, with rooms of the built-in or given source. Noise, then silence, then a jump of x;
and a pluck with one step of x. Each change is played with the three values of the control `tails`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from firmware_py.bench import change_sweep
from firmware_py.bench.parts import Parts
from firmware_py.jack.defaults import RATE_HZ

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

Tails = Literal["keep", "follow", "cut"]
TAILS: tuple[Tails, ...] = ("keep", "follow", "cut")
COLOURS = {"keep": "#0a7", "follow": "#c33", "cut": "#999"}
BLOCK, FADE_FRAMES = 64, 720
SECONDS, STOPS_S, CHANGES_S = 2.5, 0.5, 0.7
WINDOW_S = 0.05
FLOOR_DB = -60.0
"""Levels below this, of the sound's loudest, do not count."""
JUMPS = ((8.0, 2.0), (2.0, 8.0))
STEP = (4.5, 5.5)


class LevelChange(TypedDict):
    """Levels in dB of windows of 50 ms."""

    change: str
    tails: str
    drop_db: float
    """The lowest level after the change, over the old room's own."""
    rise_db: float
    """The largest rise of the level above an earlier one after the change."""
    times_s: list[float]
    level_db: list[float]
    own_db: list[float]
    """The level without a change."""


def add_parser(parts: Parts) -> None:
    parser = parts.add_parser(
        "change",
        help="a change of room: the level of what rings, for each value of the control tails",
        description="Noise stops at 0.5 s and x jumps at 0.7 s; a pluck at 0.5 s and x moves one "
        "step at 0.7 s. Then rooms swept at 50 changes a second. Exact: the same in each run.",
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="bank or model (default: the shipped one)"
    )
    parser.add_argument("--picture", type=Path, metavar="SVG", help="draw the levels over time")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(handler=_change)


def _change(args: argparse.Namespace) -> int:
    changes = measure(args.model)
    if args.picture:
        args.picture.write_text(picture(changes))
    sweeps = change_sweep.measure()
    if args.json:
        print(json.dumps({"changes": changes, "sweeps": sweeps}, indent=2))
    else:
        print(table(changes), change_sweep.table(sweeps), sep="\n\n")
    return 0


def table(changes: list[LevelChange]) -> str:
    lines = [
        "Level of what rings after a change of room, in windows of 50 ms: the lowest over the old "
        "room's own, and the largest rise",
        f"{'change':24}{'tails':8}{'lowest':>12}{'rise':>12}",
    ]
    for row in changes:
        lines.append(
            f"{row['change']:24}{row['tails']:8}{row['drop_db']:+9.1f} dB{row['rise_db']:+9.1f} dB"
        )
    return "\n".join(lines)


def measure(path: Path | None) -> list[LevelChange]:
    """Each change with each value of `tails`."""
    import numpy as np

    from device.controls import defaults
    from firmware_py.rooms.maker import RoomMaker
    from firmware_py.rooms.source import find_source

    frames = int(SECONDS * RATE_HZ) // BLOCK * BLOCK
    maker = RoomMaker(find_source(path), RATE_HZ, 4 * RATE_HZ)
    rng, stops = np.random.default_rng(1), int(STOPS_S * RATE_HZ)
    noise = np.zeros((2, frames), np.float32)
    noise[:, :stops] = 0.1 * rng.standard_normal((2, stops))
    pluck = np.zeros((2, frames), np.float32)
    pluck[:, stops:] = _pluck(frames - stops)
    rows = []
    for (old_x, new_x), sound, name in (
        *((jump, noise, "noise") for jump in JUMPS),
        (STEP, pluck, "pluck"),
    ):
        old, new = (maker.ir(defaults() | {"x": x}) for x in (old_x, new_x))
        own = _levels(_play(sound, old, None, "keep"))
        for tails in TAILS:
            level = _levels(_play(sound, old, new, tails))
            rows.append(_row(f"{name}, x {old_x:g} to {new_x:g}", tails, level, own))
    return rows


def _row(
    name: str, tails: Tails, level: NDArray[np.float64], own: NDArray[np.float64]
) -> LevelChange:
    import numpy as np

    times = WINDOW_S * np.arange(len(own))
    counts = (times >= CHANGES_S) & (np.maximum(own, level) > own.max() + FLOOR_DB)
    off = np.maximum(level, own.max() + FLOOR_DB) - np.maximum(own, own.max() + FLOOR_DB)
    after = np.maximum(level, own.max() + FLOOR_DB)[times >= CHANGES_S - WINDOW_S]
    return {
        "change": name,
        "tails": tails,
        "drop_db": float(off[counts].min()),
        "rise_db": float((after - np.minimum.accumulate(after)).max()),
        "times_s": times.tolist(),
        "level_db": level.tolist(),
        "own_db": own.tolist(),
    }


def _pluck(frames: int) -> Floats:
    """A string by Karplus and Strong (1983), 196 Hz, -60 dB after about a second."""
    import numpy as np

    period = round(RATE_HZ / 196)
    out = np.zeros(frames + period)
    out[1 : period + 1] = 0.3 * np.random.default_rng(2).standard_normal(period)
    for at in range(period + 1, len(out), period):
        end = min(at + period, len(out))
        before = out[at - period - 1 : end - period]
        out[at:end] = 0.483 * (before[1:] + before[:-1])
    return out[:frames].astype(np.float32)


def _play(sound: Floats, old: Floats, new: Floats | None, tails: Tails) -> Floats:
    import numpy as np

    from dsp import _engine

    longest = max(old.shape[1], new.shape[1] if new is not None else 1)
    kernel = _engine.Kernel(_engine.plan(BLOCK, longest, 2), FADE_FRAMES)
    kernel.load(np.ascontiguousarray(old))
    out = np.empty_like(sound)
    kernel.process(
        np.zeros((2, RATE_HZ // BLOCK * BLOCK), np.float32), np.empty((2, RATE_HZ), np.float32)
    )
    at = int(CHANGES_S * RATE_HZ) // BLOCK * BLOCK
    for part in (slice(0, at), slice(at, None)):
        if part.start and new is not None:
            kernel.load(np.ascontiguousarray(new), tails)
        wet = np.empty_like(np.ascontiguousarray(sound[:, part]))
        kernel.process(np.ascontiguousarray(sound[:, part]), wet)
        out[:, part] = wet
    return out


def _levels(sound: Floats) -> NDArray[np.float64]:
    import numpy as np

    frames = int(WINDOW_S * RATE_HZ)
    windows = sound[:, : sound.shape[1] // frames * frames].reshape(2, -1, frames)
    return np.asarray(10 * np.log10(np.mean(windows.astype(float) ** 2, axis=(0, 2)) + 1e-20))


def picture(changes: list[LevelChange]) -> str:
    """The levels over time as SVG: a panel for each change."""
    width, height, gap, top = 300, 180, 40, 30
    names = list(dict.fromkeys(row["change"] for row in changes))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{len(names) * (width + gap) + gap}" '
        f'height="{height + top + 60}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for column, name in enumerate(names):
        left = gap + column * (width + gap)
        parts.append(f'<text x="{left}" y="{top - 10}">{name}</text>')
        parts.append(
            f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" '
            'stroke="#ccc"/>'
        )
        for db in (0, -20, -40, -60):
            y = top - db * height / 80
            parts.append(f'<text x="{left - 28}" y="{y + 4:.0f}">{db}</text>')
            parts.append(f'<path d="M{left} {y:.0f}h{width}" stroke="#eee"/>')
        x = left + CHANGES_S / SECONDS * width
        parts.append(f'<path d="M{x:.0f} {top}v{height}" stroke="#aaa" stroke-dasharray="3"/>')
        rows = [row for row in changes if row["change"] == name]
        lines = [("none", "#000", rows[0]["own_db"])]
        lines += [(row["tails"], COLOURS[row["tails"]], row["level_db"]) for row in rows]
        loudest = max(rows[0]["own_db"])
        for label, colour, levels in lines:
            points = " ".join(
                f"{left + t / SECONDS * width:.1f},"
                f"{top + min(max(loudest - db, 0), 80) * height / 80:.1f}"
                for t, db in zip(rows[0]["times_s"], levels, strict=True)
            )
            dash = ' stroke-dasharray="5 3"' if label == "none" else ""
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"'
                f"{dash}/>"
            )
    legend = "   ".join(["dashed: no change", *(f"{k}: {v}" for k, v in _LEGEND.items())])
    parts.append(
        f'<text x="{gap}" y="{top + height + 22}">dB over {SECONDS:g} s; the room changes at '
        f"{CHANGES_S:g} s</text>"
    )
    parts.append(f'<text x="{gap}" y="{top + height + 42}">{legend}</text></svg>')
    return "\n".join(parts) + "\n"


_LEGEND = {"tails=keep": "green", "follow (as before)": "red", "cut": "grey"}
