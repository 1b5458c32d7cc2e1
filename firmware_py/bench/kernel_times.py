"""`nverb bench kernel`: the error against float64, and the times of our kernel and its peers.

Times depend on this machine and on its load.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dsp.errors import UserError
from firmware_py.base.process import module_command
from firmware_py.bench.kernel_counter import InstructionCounter
from firmware_py.bench.kernel_figures import BLOCKS, FADE_FRAMES, TAPS, Error, TimeRow, say
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
    ours, zita = counter.build("time"), counter.build_zita()
    rows = []
    for block in BLOCKS[:2]:
        for paced in (0, 1):
            named: list[tuple[str, list[str | Path]]] = [
                ("nverb, C", [ours, f"block={block}", f"paced={paced}"])
            ]
            if isinstance(zita, Path):
                named.append(("zita, C++", [zita, f"block={block}", f"paced={paced}"]))
            for peer in ("nverb", "pyo", "pedalboard", "numpy"):
                words = module_command("firmware_py.bench.peers", peer, str(block), str(paced))
                named.append((f"{peer}, Python", [*words]))
            for name, command in named:
                say(f"time of {name}, {block} frames")
                rows.append(_time(name, command, block, bool(paced)))
    return rows


def _time(name: str, command: list[str | Path], block: int, paced: bool) -> TimeRow:
    row: TimeRow = {"engine": name, "block": block, "paced": paced}
    try:
        figures = [float(word) for word in run(command, name).stdout.split()]
    except UserError as error:
        needs = re.search(r"No module named '(\w+)'", str(error))
        row["needs"] = how_to_install(needs[1]) if needs else str(error)
        return row
    row["median_us"], row["p999_us"], row["worst_us"] = figures[:3]
    if len(figures) > 3:
        row["cpu_us"] = figures[3]
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
