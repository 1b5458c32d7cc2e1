"""`nverb bench kernel`: the error against float64, and the times of our kernel and its peers.

Times depend on this machine and on its load.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import numpy as np

from dsp.errors import UserError
from firmware_py.base.process import module_command
from firmware_py.bench.kernel_counter import InstructionCounter
from firmware_py.bench.kernel_figures import (
    BLOCKS,
    FADE_FRAMES,
    PAIRS,
    TAPS,
    Error,
    PairedRow,
    TimeRow,
    say,
)
from firmware_py.bench.kernel_platforms import run
from firmware_py.jack.defaults import RATE_HZ
from models.packages import how_to_install


def measure_error() -> Error:
    """rms and peak of the difference from convolution in float64, in dB of the exact result.

    The worst of all block sizes, lengths and channels. Also the added latency.
    """
    rng = np.random.default_rng(1)
    rms_db = peak_db = -999.0
    for block in (16, 64, 128, 256, 1024):
        for taps in (1, 5000, TAPS, 10 * RATE_HZ):
            say(f"error, {block} frames, {taps} taps")
            rms, peak = _error_db(rng, block, taps)
            rms_db, peak_db = max(rms_db, rms), max(peak_db, peak)
    return {"rms_db": rms_db, "peak_db": peak_db, "latency_frames": 0}


def _error_db(rng: np.random.Generator, block: int, taps: int) -> tuple[float, float]:
    """rms and peak error in dB for a decaying random IR and random input."""
    from dsp import _engine

    kernel = _engine.Kernel(_engine.plan(block, taps, 2), FADE_FRAMES)
    ir = (rng.standard_normal((2, taps)) * np.exp(-5 * np.arange(taps) / taps)).astype(np.float32)
    kernel.load(ir)
    frames = (taps // 2 + RATE_HZ) // block * block
    sound = (0.1 * rng.standard_normal((2, frames))).astype(np.float32)
    out = np.empty((2, frames), np.float32)
    while kernel.fading:
        kernel.process(np.zeros((2, block), np.float32), out[:, :block].copy())
    kernel.process(sound, out)
    size = 1 << (frames + taps).bit_length()
    spectrum = np.fft.rfft(sound.astype(float), size) * np.fft.rfft(ir.astype(float), size)
    expected = np.fft.irfft(spectrum, size)[:, :frames]
    difference = out - expected
    rms = np.sqrt(np.mean(difference**2) / np.mean(expected**2))
    peak = np.abs(difference).max() / np.abs(expected).max()
    return 20 * float(np.log10(rms)), 20 * float(np.log10(peak))


def measure_times(counter: InstructionCounter) -> list[TimeRow]:
    """Times of a block in us: median, 99.9th percentile, maximum.

    Each engine runs free (block after block) and paced (at the rate of audio).
    """
    rows = []
    for block in BLOCKS[:2]:
        for paced in (False, True):
            for name, command in _engines(counter, block, paced):
                say(f"time of {name}, {block} frames")
                rows.append(_time(name, command, block, paced))
    return rows


def measure_paired(counter: InstructionCounter) -> list[PairedRow]:
    """The processor time of each peer over ours, of engines in C and of those called by Python."""
    rows = []
    for block in BLOCKS:
        engines = _engines(counter, block, False, seconds=1)
        ours = {kind: command for name, command in engines if (kind := _ours(name))}
        for name, command in engines:
            if not _ours(name):
                say(f"processor time of {name}, {block} frames")
                rows.append(_paired(name, block, ours[name.split(", ")[1][0]], command))
    return rows


def _ours(name: str) -> str:
    """C or P (Python) for our kernel, empty for a peer."""
    return name.split(", ")[1][0] if name.startswith("nverb, ") else ""


def _engines(
    counter: InstructionCounter, block: int, paced: bool, seconds: int = 4
) -> list[tuple[str, list[str | Path]]]:
    """Name and command of our kernel and of each peer."""
    words = (f"block={block}", f"paced={paced:d}", f"seconds={seconds}")
    zita = counter.build_zita()
    named: list[tuple[str, list[str | Path]]] = [("nverb, C", [counter.build("time"), *words])]
    if isinstance(zita, Path):
        named.append(("zita, C++", [zita, *words]))
    for peer in ("nverb", "pyo", "pedalboard", "numpy"):
        python = module_command("firmware_py.bench.peers", peer, str(block), f"{paced:d}")
        named.append((f"{peer}, Python", [*python]))
    return named


def _paired(name: str, block: int, ours: list[str | Path], peer: list[str | Path]) -> PairedRow:
    row: PairedRow = {"engine": name, "block": block}
    ratios = []
    for _ in range(PAIRS):
        times = [_time(name, command, block, False) for command in (ours, peer)]
        for time in times:
            if "needs" in time:
                row["needs"] = time["needs"]
                return row
        ratios.append(times[1]["cpu_us"] / times[0]["cpu_us"])
    row["ratio"], row["least"], row["most"] = statistics.median(ratios), min(ratios), max(ratios)
    return row


def _time(name: str, command: list[str | Path], block: int, paced: bool) -> TimeRow:
    row: TimeRow = {"engine": name, "block": block, "paced": paced}
    try:
        figures = [float(word) for word in run(command, name).stdout.split()]
    except UserError as error:
        needs = re.search(r"No module named '(\w+)'", str(error))
        row["needs"] = how_to_install(needs[1]) if needs else str(error)
        return row
    row["median_us"], row["p999_us"], row["worst_us"], row["cpu_us"] = figures
    return row


def measure_denormals(counter: InstructionCounter) -> float:
    """Block time after 1 s of loud sound and 60 s of silence, over that of noise.

    The minimum of five ratios of medians.
    """
    program, ratios = counter.build("time"), []
    for _ in range(5):
        say("silence after a loud second")
        times = [
            float(run([program, f"silent={silent}", "seconds=1"], "time").stdout.split()[0])
            for silent in (1, 0)
        ]
        ratios.append(times[0] / times[1])
    return float(min(ratios))
