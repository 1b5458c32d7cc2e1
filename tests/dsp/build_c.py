"""Compiles the kernel and a C program around it, for sanitizers and other processors."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from dsp.simd_builds import KERNEL_SOURCES, builds_for, family_of

DSP = Path(__file__).parents[2] / "dsp"
HERE = Path(__file__).parent
SANITIZE = (
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)


def build(
    folder: Path,
    main: str,
    *,
    machine: str = "x86_64",
    gcc: str = "gcc",
    flags: Sequence[str] = (),
    sources: Sequence[str] = (),
    kernel: bool = True,
) -> Path:
    """Compile `main` of this folder with the kernel, unless it is not wanted, and `sources` of
    dsp/. Returns the program.

    `flags` come last, so that a sanitizer's -O1 overrides the -O3 of the SIMD builds.
    """
    common = ["-std=gnu11", f"-I{DSP}"]
    family, objects = family_of(machine), []
    for simd in builds_for(family) if kernel else ():
        target = folder / f"{simd.table}.o"
        command = [gcc, *common, *simd.arguments(family), *flags]
        subprocess.run([*command, "-c", DSP / "kernel_simd.c", "-o", target], check=True)
        objects.append(target)
    program = folder / Path(main).stem
    files = [
        HERE / main,
        *(DSP / name for name in (*(KERNEL_SOURCES if kernel else ()), *sources)),
        *objects,
    ]
    subprocess.run([gcc, *common, *flags, "-o", program, *files, "-lm", "-lpthread"], check=True)
    return program
