"""`nverb bench rooms`: time and memory that a new room costs the control process.

The steps: decode, shape, synthesise, transform.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

from firmware_py.base.process import nverb_command
from firmware_py.bench.parts import Parts
from firmware_py.jack.defaults import BLOCK_FRAMES, LONGEST_S, RATE_HZ

STEPS = ("decode", "shape", "synthesise", "spectra")


def add_parser(parts: Parts) -> None:
    parser = parts.add_parser(
        "rooms",
        help="a new room, from position to spectra: time of each step, memory",
        description="Random positions of x, y and z, one core. Measures processor time, so the "
        "load of other programs counts only through the caches. The longest rooms last as long as "
        "the setting max_ir_s allows.",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="bank or model (default: the shipped one)",
    )
    parser.add_argument("--rate", type=int, default=RATE_HZ, help="Hz (default: %(default)s)")
    parser.add_argument(
        "--block", type=int, default=BLOCK_FRAMES, help="frames per block (default: %(default)s)"
    )
    parser.add_argument(
        "--rooms", type=int, default=200, help="number of rooms (default: %(default)s)"
    )
    parser.add_argument(
        "--counts",
        action="store_true",
        help="instructions of each step instead of times: on x86-64 by callgrind; of what is in C "
        "on ARM, too, under qemu. Takes some minutes",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(handler=_rooms)


def _rooms(args: argparse.Namespace) -> int:
    if args.child:
        print(json.dumps(measure(args.model, args.rate, args.block, args.rooms)))
        return 0
    if args.counts:
        from firmware_py.bench import rooms_counts

        counts = rooms_counts.measure_counts(args.model)
        print(json.dumps(counts, indent=2) if args.json else rooms_counts.table(counts))
        return 0
    # A separate process, so that the measured memory does not include the bench.
    command = nverb_command("bench", "rooms", "--child", "--rate", str(args.rate))
    command += ["--block", str(args.block), "--rooms", str(args.rooms)]
    if args.model:
        command += ["--model", str(args.model)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return done.returncode
    figures = json.loads(done.stdout)
    if args.json:
        print(json.dumps(figures, indent=2))
        return 0
    print(
        f"{figures['source']}, {args.rate} Hz stereo, {args.rooms} rooms of "
        f"{figures['mean_s']:.2f} s on average"
    )
    print(f"{'':12}{'median':>9}{'p90':>9}{'maximum':>9}  ms of one core")
    for name in (*STEPS, "all"):
        print(
            f"{name:12}"
            + "".join(f"{figures[name][column]:9.2f}" for column in ("median", "p90", "max"))
        )
    print(f"memory: {figures['rss_mb']:.0f} MB peak resident set")
    return 0


def measure(path: Path | None, rate_hz: int, block_frames: int, rooms: int) -> dict[str, object]:
    """Times in ms by step (median, p90, max), `source`, `mean_s`, and `rss_mb`, the peak."""
    import resource

    import numpy as np

    from dsp import _engine
    from dsp.shaping import Shape, shape_map
    from dsp.synthesis import Synthesiser
    from firmware_py.base.memory import keep_freed_memory
    from firmware_py.rooms.source import find_source
    from models.latent import KNOBS, LATENT_HIGH, LATENT_LOW
    from models.reflections import with_reflections

    keep_freed_memory()
    source = find_source(path)
    shape = Shape(decay=0.999, tilt_db=0.01)  # all steps of shaping, nearly the same length
    layout = _engine.plan(block_frames, int(LONGEST_S * rate_hz), 1)
    kernel = _engine.Kernel(layout)
    random = np.random.default_rng(0)
    grid = source.energy_map(0.0, 0.0, 0.0).grid
    synthesise = Synthesiser(rate_hz, grid, longest_s=LONGEST_S)
    while synthesise.prepare():  # the control process does this when idle
        pass
    times, seconds = [], []
    for point in random.uniform(LATENT_LOW, LATENT_HIGH, (rooms, KNOBS)):
        marks = [time.process_time()]
        x, y, z = (float(v) for v in point)
        room = with_reflections(source.energy_map(x, y, z), x, z)
        marks.append(time.process_time())
        room = shape_map(room, shape, LONGEST_S)
        marks.append(time.process_time())
        ir = synthesise(room)
        marks.append(time.process_time())
        kernel.load(ir)
        marks.append(time.process_time())
        kernel = _engine.Kernel(layout)  # the old one is fading and accepts no IR
        times.append(np.diff(marks))
        seconds.append(ir.shape[1] / rate_hz)
    table = 1000 * np.array(times)
    table = np.concatenate([table, table.sum(axis=1, keepdims=True)], axis=1)
    figures: dict[str, object] = {"source": source.name, "mean_s": float(np.mean(seconds))}
    for name, column in zip((*STEPS, "all"), table.T, strict=True):
        figures[name] = {
            "median": float(np.median(column)),
            "p90": float(np.quantile(column, 0.9)),
            "max": float(column.max()),
        }
    figures["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures
