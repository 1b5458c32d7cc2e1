"""Instructions per block of the kernel, counted by callgrind on the very objects that the engine is made of."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from firmware_py.errors import UserError

DSP = Path(__file__).parents[1] / "dsp"
TAPS = 97536
"""2.03 s at 48 kHz, as long as the reference plug-in's IRs."""
CASES = (
    # name, block, taps, inputs, IR channels
    ("stereo", 64, TAPS, 2, 2),
    ("stereo", 128, TAPS, 2, 2),
    ("stereo", 256, TAPS, 2, 2),
    ("stereo, 8 s", 64, 8 * 48000, 2, 2),
    ("mono in", 64, TAPS, 1, 2),
    ("true stereo", 64, TAPS, 2, 4),
)


def build(folder: Path) -> Path:
    """Compiles the driver with the flags of setup.py. Raises UserError."""
    for tool, package in (("gcc", "gcc"), ("valgrind", "valgrind")):
        if shutil.which(tool) is None:
            raise UserError(f"{tool} is missing: sudo apt-get install {package}")
    fast = ["gcc", "-std=gnu11", "-O3", "-ffast-math", "-fno-math-errno", "-c", f"-I{DSP}", str(DSP / "kernel_simd.c")]
    wide = ["-DNV_SIMD_TABLE=nv_simd_avx2", "-DNV_LANES=8", '-DNV_SIMD_NAME="avx2"', "-mavx2", "-mfma"]
    sources = [str(DSP / "bench/count.c"), str(DSP / "kernel.c"), str(DSP / "kernel_plan.c")]
    sources += [str(folder / "baseline.o"), str(folder / "avx2.o")]
    commands = [
        [*fast, "-o", str(folder / "baseline.o")],
        [*fast, *wide, "-o", str(folder / "avx2.o")],
        ["gcc", "-std=gnu11", "-O2", f"-I{DSP}", "-o", str(folder / "count"), *sources, "-lm"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"the kernel's bench does not compile: {done.stderr.strip().splitlines()[0]}")
    return folder / "count"


def count(program: Path, block: int, taps: int, inputs: int, channels: int, blocks: int) -> tuple[int, list[str]]:
    """Instructions of a whole run, and what the driver printed."""
    arguments = [str(n) for n in (block, taps, inputs, channels, blocks)]
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise UserError(f"callgrind failed: {done.stderr.strip().splitlines()[-1]}")
    return int(found[1]), done.stdout.split("\n")


def measure() -> list[dict[str, Any]]:
    """A row for each case: Ir per block, the partitions, memory beyond 8 bytes a tap and input (the delay line's part)."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        for name, block, taps, inputs, channels in CASES:
            blocks = (
                16 * 2048 // block
            )  # whole periods of the largest partitions: the difference of two runs is the steady state
            (more, printed), (less, _) = (count(program, block, taps, inputs, channels, n * blocks) for n in (2, 1))
            rows.append(
                {
                    "case": name,
                    "block": block,
                    "taps": taps,
                    "ir_per_block": (more - less) / blocks,
                    "partitions": printed[0],
                    "work_bytes": int(printed[1]) - 8 * taps * inputs,
                }
            )
    return rows
