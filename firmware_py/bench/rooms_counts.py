"""`nverb bench rooms --counts`: instructions of each step of a new room.

On x86-64 callgrind counts all of them, in a process of this module. For ARM there is no Python
here: what is in C is counted by dsp/bench/rooms.c, with the decoder that needs no TFLite runtime.
"""

from __future__ import annotations

import argparse
import ctypes
import struct
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from dsp import _engine, pulses, shaping
from dsp.bands import Curves
from dsp.diffuse_field import EARS_M
from dsp.endless import endless
from dsp.energymap import EnergyMap
from dsp.noise import LEAD_S, keep_in
from dsp.shaping import Shape, shape_map
from dsp.synthesis import Job, Synthesiser
from dsp.taps import NO_TAPS
from firmware_py.base.process import module_command
from firmware_py.bench.kernel_counter import InstructionCounter, callgrind, counters
from firmware_py.bench.kernel_figures import say
from firmware_py.bench.kernel_platforms import run
from firmware_py.jack.defaults import BLOCK_FRAMES, LONGEST_S, RATE_HZ
from firmware_py.rooms.noise_files import NoiseFiles
from firmware_py.rooms.source import RoomSource, find_source
from models import container
from models.files import SHIPPED
from models.integers import Integers
from models.latent import LATENT_HIGH, LATENT_LOW
from models.reflections import with_reflections

LENGTHS_S = (0.5, 1.0, 2.4, 4.0)
STEPS = ("decode", "shape", "synthesise", "spectra")
SHAPE = Shape(decay=0.999, tilt_db=0.01)
"""All steps of shaping, nearly the same length."""
MARK = """
#include <valgrind/callgrind.h>
void mark_step(void) { CALLGRIND_DUMP_STATS; }
"""
NAME = "firmware_py.bench.rooms_counts"
MILLION = 1e6


class RoomCounts(TypedDict):
    """Millions of instructions, for each length. `platforms`: of what is in C."""

    lengths_s: list[float]
    python: dict[str, list[float]]
    """Each step on this processor, and `whole`; empty if callgrind is missing."""
    platforms: dict[str, dict[str, list[float]]]
    needs: dict[str, str]
    """The commands that install what other platforms need."""


class _Maker(NamedTuple):
    source: RoomSource
    synthesiser: Synthesiser
    kernel: Callable[[], _engine.Kernel]

    def map(self, x: float) -> EnergyMap:
        return with_reflections(self.source.energy_map(x, 0.0, 0.0), x, 0.0)


def _maker(path: Path | None, noise: Path) -> _Maker:
    keep_in(NoiseFiles(noise))
    source = find_source(path)
    grid = source.energy_map(0.0, 0.0, 0.0).grid
    layout = _engine.plan(BLOCK_FRAMES, int(LONGEST_S * RATE_HZ), 1)
    synthesiser = Synthesiser(RATE_HZ, grid, longest_s=LONGEST_S)
    return _Maker(source, synthesiser, lambda: _engine.Kernel(layout))


def _x_of(made: _Maker, seconds: float) -> float:
    """Where on the axis X a room lasts so long, or where it comes nearest."""
    low, high = LATENT_LOW, LATENT_HIGH
    for _ in range(24):
        x = (low + high) / 2
        is_short = endless(made.map(x), LONGEST_S)[1] < seconds
        low, high = (x, high) if is_short else (low, x)
    return low


def measure_counts(path: Path | None) -> RoomCounts:
    """Raises UserError if a tool fails."""
    figures: RoomCounts = {"lengths_s": [], "python": {}, "platforms": {}, "needs": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("making rooms")
        made = _maker(path, folder / "noise")
        places = [_x_of(made, seconds) for seconds in LENGTHS_S]
        files = [folder / f"room{i}" for i in range(len(places))]
        for x, file in zip(places, files, strict=True):
            figures["lengths_s"].append(_export(made, x, file))
        able, figures["needs"] = counters(folder)
        for counter in able:
            say(counter.platform.name)
            figures["platforms"][counter.platform.name] = _count_c(counter, files)
            if not counter.platform.qemu:
                figures["python"] = _count_python(folder, path, places)
        say("")
    return figures


def _export(made: _Maker, x: float, file: Path) -> float:
    """Write a room's tables and curves for dsp/bench/rooms.c. Returns its length in seconds."""
    room, seconds = endless(shape_map(made.map(x), SHAPE, LONGEST_S), LONGEST_S)
    job = made.synthesiser.job(room, seconds, 1.0, EARS_M)
    with file.open("wb") as out:
        for part in chain(_decoder_parts(x), _room_parts(room, job)):
            data = b"" if part is None else np.ascontiguousarray(part).tobytes()
            out.write(struct.pack("=i", len(data)) + data)
    return seconds


def _integers(*numbers: int) -> NDArray[np.int32]:
    return np.array(numbers, np.int32)


def _decoder_parts(x: float) -> Iterator[NDArray[np.generic]]:
    """Of the shipped decoder, as dsp/bench/rooms.c takes them."""
    integers = Integers(container.read(SHIPPED / "decoder.nvmodel").network)
    yield _integers(len(integers.layers))
    yield np.array(integers.scales, np.float32)
    yield np.array([x] + [0.0] * (integers.inputs - 1), np.float32)
    for weights, bias, factor, shift, less, ends, swish in integers.layers:
        rows, columns = np.shape(weights)
        own = (0, 0, 0, 0) if swish is None else swish
        yield _integers(columns, rows, *ends, swish is not None, *own)
        yield from (np.asarray(part) for part in (weights, () if bias is None else bias))
        yield from (np.asarray(part) for part in (factor, shift, less))


def _room_parts(room: EnergyMap, job: Job) -> Iterator[NDArray[np.generic] | None]:
    """The levels that are shaped and become sound, and all tables of C."""
    grid, taps = room.grid, room.taps or NO_TAPS
    falls = shaping.tables_of(grid)
    yield _integers(grid.frames, len(falls[2]))
    yield from falls
    of, tables = pulses.spectrum_of(grid, RATE_HZ), pulses.tables_of(grid, RATE_HZ)
    heard = pulses.bands_heard(grid, RATE_HZ)
    yield _integers(grid.bands, grid.frames, RATE_HZ, heard, of.size, len(tables[-2]))
    yield from tables
    yield _integers(len(taps))
    yield pulses.fields_of(taps)
    yield _integers(job.workspace.frames, len(job.workspace.rows))
    for curve, first, *arrays in job.workspace.rows:
        yield _integers(curve, first, len(arrays[0]))
        yield from arrays
    curves, bins = Curves(grid), job.workspace.frames // 2 + 1
    yield _integers(job.frames, int(LEAD_S * RATE_HZ))
    yield room.level_db.astype(np.float32)
    yield room.direct_db
    yield from (curves.after, curves.share, job.middle[:bins], job.side[:bins])


def _count_c(counter: InstructionCounter, files: list[Path]) -> dict[str, list[float]]:
    program = counter.build("rooms")
    counted: dict[str, list[float]] = {step: [] for step in STEPS}
    for file in files:
        counts, _ = counter.count(program, file=file, longest=int(LONGEST_S * RATE_HZ))
        for step, count in zip(STEPS, counts[-len(STEPS) :], strict=True):
            counted[step].append(count / MILLION)
    return {**counted, "whole": np.sum(list(counted.values()), axis=0).tolist()}


def _count_python(folder: Path, path: Path | None, places: list[float]) -> dict[str, list[float]]:
    source, library = folder / "mark.c", folder / "mark.so"
    source.write_text(MARK)
    run(["gcc", "-shared", "-fPIC", "-o", library, source], "gcc")
    words = [str(library), str(folder / "noise"), str(path or ""), "--", *map(str, places)]
    counts, _ = callgrind(module_command(NAME, *words))
    rows = np.array(counts).reshape(len(places), -1)[:, : len(STEPS)] / MILLION
    python = dict(zip(STEPS, rows.T.tolist(), strict=True))
    return {**python, "whole": rows.sum(axis=1).tolist()}


def _steps(made: _Maker, x: float) -> Iterator[None]:
    kernel = made.kernel()
    yield
    room = made.map(x)
    yield
    room = shape_map(room, SHAPE, LONGEST_S)
    yield
    ir = made.synthesiser(room)
    yield
    kernel.load(ir)
    yield


def table(figures: RoomCounts) -> str:
    """For a terminal."""
    head = "".join(f"{seconds:7.2f} s" for seconds in figures["lengths_s"])
    lines = [f"{'millions of instructions':28}{head}"]
    in_c = {f"{name}, in C": steps for name, steps in figures["platforms"].items()}
    for name, steps in {"x86-64": figures["python"], **in_c}.items():
        for step, counts in steps.items():
            lines.append(f"{name:16}{step:12}" + "".join(f"{n:9.1f}" for n in counts))
    lines += [f"{name}: not counted; run: {needs}" for name, needs in figures["needs"].items()]
    return "\n".join(lines)


def main() -> None:
    """The process that callgrind counts: each room once, then again between marks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("noise", type=Path)
    parser.add_argument("model")
    parser.add_argument("places", type=float, nargs="+")
    args = parser.parse_args()
    made = _maker(Path(args.model) if args.model else None, args.noise)
    mark = ctypes.CDLL(args.library).mark_step
    for _ in [step for x in args.places for step in [*_steps(made, x)]]:
        pass
    for x in args.places:
        for _ in _steps(made, x):
            mark()
    mark()


if __name__ == "__main__":
    main()
