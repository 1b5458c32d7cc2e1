"""Compiles the kernel and a C program around it, for sanitizers and other processors."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dsp.simd_builds import KERNEL_SOURCES, builds_for, family_of

DSP = Path(__file__).parents[2] / "dsp"
HERE = Path(__file__).parent
SANITIZE = (
    "-O1",
    "-g1",  # lines only: the compiler is twice as fast
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
) -> Path:
    """Compile `main` of this folder with the kernel and `sources` of dsp/. Returns the program.

    `flags` come last, so that a sanitizer's -O1 overrides the -O3 of the SIMD builds. Programs of
    one folder share what is compiled alike.
    """
    family = family_of(machine)
    words: list[list[str | Path]] = [
        [*simd.arguments(family), DSP / "kernel_simd.c"] for simd in builds_for(family)
    ]
    words += [["-O2", DSP / name] for name in (*KERNEL_SOURCES, *sources)]
    words += [["-O2", HERE / main]]
    objects = []
    for each in words:
        command = [gcc, "-std=gnu11", f"-I{DSP}", *each, *flags, "-c"]
        digest = hashlib.sha256(repr(command).encode()).hexdigest()
        objects.append(folder / f"{digest[:16]}.o")
        if not objects[-1].exists():
            subprocess.run([*command, "-o", objects[-1]], check=True)
    program = folder / Path(main).stem
    subprocess.run([gcc, *flags, "-o", program, *objects, "-lm", "-lpthread"], check=True)
    return program
