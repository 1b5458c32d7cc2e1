"""Compiles the kernel and a C program around it, for the tests that run C: sanitizers, other processors."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

DSP = Path(__file__).parents[2] / "dsp"
HERE = Path(__file__).parent
FAST = ["-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=fast"]
"""As setup.py has them."""
BUILDS: dict[str, list[tuple[str, int, list[str]]]] = {
    "x86_64": [("nv_simd_baseline", 4, []), ("nv_simd_avx2", 8, ["-mavx2", "-mfma"])],
    "aarch64": [("nv_simd_baseline", 4, ["-fno-schedule-insns"])],
    "armv7l": [("nv_simd_baseline", 4, ["-ffast-math"]), ("nv_simd_neon", 4, ["-mfpu=neon", "-ffast-math"])],
}


def build(
    folder: Path,
    main: str,
    *,
    machine: str = "x86_64",
    gcc: str = "gcc",
    flags: Sequence[str] = (),
    sources: Sequence[str] = (),
) -> Path:
    """`main` of this folder with the kernel and further `sources` of dsp/ -> the program."""
    common = ["-std=gnu11", f"-I{DSP}"]
    objects = []
    for table, lanes, special in BUILDS[machine]:
        name = [] if table == "nv_simd_baseline" else [f'-DNV_SIMD_NAME="{table[8:]}"']
        target = folder / f"{table}.o"
        defines = [*name, f"-DNV_SIMD_TABLE={table}", f"-DNV_LANES={lanes}"]
        command = [gcc, *common, "-O3", *FAST, *special, *defines, *flags]
        subprocess.run([*command, "-c", DSP / "kernel_simd.c", "-o", target], check=True)
        objects.append(target)
    program = folder / Path(main).stem
    files = [HERE / main, *(DSP / s for s in ("kernel.c", "kernel_plan.c", *sources)), *objects]
    subprocess.run([gcc, *common, *flags, "-o", program, *files, "-lm", "-lpthread"], check=True)
    return program
