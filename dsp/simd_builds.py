"""How the kernel is compiled: one table for setup.py, the kernel bench and the tests.

kernel_simd.c is compiled once for each instruction set of the target's processor family;
nv_best_simd() selects one of these builds at run time. setup.py imports this module in pip's
isolated build environment, so it needs the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["x86_64", "aarch64", "arm", "other"]

KERNEL_SOURCES = (
    "kernel.c",
    "kernel_build.c",
    "kernel_change.c",
    "kernel_fft.c",
    "kernel_jobs.c",
    "kernel_passages.c",
    "kernel_plan.c",
    "kernel_products.c",
    "kernel_spectra.c",
)
"""Compiled once, with ordinary flags; kernel_simd.c is compiled once for each build on top."""
ENGINE_SOURCES = (
    "duck.c",
    "engine.c",
    "engine_filters.c",
    "gate.c",
    "latefield.c",
    "latefield_build.c",
    "latefield_room.c",
    "movement.c",
    "port.c",
    "reblock.c",
    "shimmer.c",
    "sides.c",
    "tone.c",
)
"""The engine on top of the kernel, without Python."""

FAST = (
    "-std=gnu11",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-ffp-contract=fast",
    # Short loops of stores stay loops: memset() and memcpy() are slower to start.
    "-fno-tree-loop-distribute-patterns",
)
FAMILY_FLAGS: dict[Family, tuple[str, ...]] = {
    "x86_64": (),
    # Scheduling before register allocation only adds spills; the second pass stays on.
    "aarch64": ("-fno-schedule-insns",),
    # NEON of ARMv7 flushes denormals, so GCC does not vectorize with it otherwise.
    "arm": ("-ffast-math", "-fno-associative-math"),
    "other": (),
}


@dataclass(frozen=True)
class SimdBuild:
    """One object of kernel_simd.c: it defines the table nv_simd_<name>, `lanes` floats a vector."""

    name: str
    lanes: int
    flags: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        return f"nv_simd_{self.name}"

    def arguments(self, family: Family) -> list[str]:
        """Compiler flags and macros, without files. The baseline has no name here: kernel_simd.c
        derives it from the target (sse2, neon, scalar)."""
        name = [] if self is BASELINE else [f'-DNV_SIMD_NAME="{self.name}"']
        macros = [f"-DNV_SIMD_TABLE={self.table}", f"-DNV_LANES={self.lanes}", *name]
        return [*FAST, *FAMILY_FLAGS[family], *self.flags, *macros]


BASELINE = SimdBuild("baseline", 4)
EXTRA: dict[Family, tuple[SimdBuild, ...]] = {
    "x86_64": (SimdBuild("avx2", 8, ("-mavx2", "-mfma")),),
    "aarch64": (),
    "arm": (SimdBuild("neon", 4, ("-march=armv7-a", "-mfpu=neon")),),
    "other": (),
}


def family_of(machine: str) -> Family:
    """The family of a machine name from `uname -m` or a compiler triplet: x86_64, armv7l, ..."""
    match machine:
        case "x86_64" | "amd64":
            return "x86_64"
        case "aarch64" | "arm64":
            return "aarch64"
    return "arm" if machine.startswith("arm") else "other"


def builds_for(family: Family) -> tuple[SimdBuild, ...]:
    """Every build of the family, the baseline first."""
    return (BASELINE, *EXTRA[family])
