"""The C extension dsp._engine; everything else about the package stands in setup.cfg.

dsp/kernel_simd.c is compiled once for each instruction set that this processor family may have, with flags of its own; which of
the objects runs is chosen at run time.
"""

from __future__ import annotations

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FAST = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=fast"]
if platform.machine() == "aarch64":
    FAST.append("-fno-schedule-insns")  # before registers are given out it only makes more spills; the second run stays
if platform.machine().startswith("armv"):
    FAST.append("-ffast-math")  # else NEON is not used: it flushes denormals
# name of the table, lanes, its flags
BASELINE = ("nv_simd_baseline", 4, [])
EXTRA = {
    "x86_64": [("nv_simd_avx2", 8, ["-mavx2", "-mfma"])],
    "armv7l": [("nv_simd_neon", 4, ["-mfpu=neon"])],
    "armv6l": [],
}


class BuildEngine(build_ext):
    def build_extension(self, ext: Extension) -> None:
        folder = Path(self.build_temp) / "simd"
        for table, lanes, flags in [BASELINE, *EXTRA.get(platform.machine(), [])]:
            macros: list[tuple[str, str | None]] = [("NV_SIMD_TABLE", table), ("NV_LANES", str(lanes))]
            if table != BASELINE[0]:
                macros.append(("NV_SIMD_NAME", f'"{table.removeprefix("nv_simd_")}"'))
            ext.extra_objects += self.compiler.compile(
                ["dsp/kernel_simd.c"],
                output_dir=str(folder / table),
                macros=macros,
                include_dirs=["dsp"],
                extra_postargs=[*FAST, "-fPIC", *flags],
                depends=["dsp/kernel_simd.h"],
            )
        super().build_extension(ext)


setup(
    ext_modules=[
        Extension(
            "dsp._engine",
            ["dsp/binding.c", "dsp/engine.c", "dsp/port.c", "dsp/kernel.c", "dsp/kernel_plan.c"],
            include_dirs=["dsp"],
            depends=[
                f"dsp/{name}.h" for name in ("engine", "port", "kernel", "kernel_layout", "kernel_simd", "denormals")
            ],
            extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra"],
            libraries=["m"],
        )
    ],
    cmdclass={"build_ext": BuildEngine},
)
