"""The C extension dsp._engine, and what a wheel for each processor asks for; everything else about the package stands in setup.cfg.

dsp/kernel_simd.c is compiled once for each instruction set that this processor family may have, with flags of its own; which of
the objects runs is chosen at run time.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


def target() -> str:
    """The processor family that the compiler builds for. Not this machine's: a 32-bit Raspberry Pi OS runs on a 64-bit kernel, and
    wheels for boards are cross-compiled."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    try:
        triplet = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        triplet = platform.machine()
    return triplet.strip().split("-")[0]


TARGET = target()
FAST = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=fast"]
if TARGET == "aarch64":
    FAST.append("-fno-schedule-insns")  # before registers are given out it only makes more spills; the second run stays
if TARGET.startswith("arm"):
    FAST.append("-ffast-math")  # else NEON is not used: it flushes denormals
# name of the table, lanes, its flags
BASELINE = ("nv_simd_baseline", 4, [])
EXTRA = {
    "x86_64": [("nv_simd_avx2", 8, ["-mavx2", "-mfma"])],
    "arm": [("nv_simd_neon", 4, ["-march=armv7-a", "-mfpu=neon"])],
}

REQUIRES = [
    "pyo>=1.1.0",
    "soundfile>=0.12",
    "gpiozero>=2.0",
    "argcomplete>=3.1",
    "smbus2>=0.4.3",
    "python-osc>=1.8",
]
# A condition on platform_machine would not do: it is the kernel's word, and a 32-bit Raspberry Pi OS runs on a 64-bit kernel ("aarch64").
# A wheel of ours is for one processor anyhow, so its list is, too. `make test-arm` installs each ARM one.
NUMPY, SOXR, LGPIO = "numpy>=1.26", "soxr>=0.5", "lgpio>=0.2.2"
LITERT = 'ai-edge-litert>=1.0.1; python_version < "3.14"'
# PyPI has no wheel of it from Python 3.13 on: Debian's python3-rtmidi serves there (the Makefile and systemd/tree.py ask for it)
RTMIDI = 'python-rtmidi>=1.5.8; python_version < "3.13"'
REQUIRES += {
    "x86_64": [NUMPY, SOXR, LITERT, RTMIDI],
    "aarch64": [NUMPY, SOXR, LGPIO, LITERT, RTMIDI],
    # PyPI has no wheel of NumPy: Debian's python3-numpy is 1.24 in bookworm, and tflite-runtime needs one below 2. soxr before 0.4
    # can be cross-compiled.
    "arm": [
        'numpy>=1.24,<2; python_version < "3.12"',
        'numpy>=1.26; python_version >= "3.12"',
        "soxr>=0.3.7",
        LGPIO,
        'tflite-runtime>=2.14; python_version < "3.12"',
    ],
}.get("arm" if TARGET.startswith("arm") else TARGET, [NUMPY, SOXR])


class BuildEngine(build_ext):
    def build_extension(self, ext: Extension) -> None:
        folder = Path(self.build_temp) / "simd"
        for table, lanes, flags in [BASELINE, *EXTRA.get(TARGET, [])]:
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
    install_requires=REQUIRES,
    ext_modules=[
        Extension(
            "dsp._engine",
            [f"dsp/{name}.c" for name in ("binding", "engine", "port", "vigil", "kernel", "kernel_plan")],
            include_dirs=["dsp"],
            depends=[
                f"dsp/{name}.h"
                for name in ("engine", "port", "vigil", "kernel", "kernel_layout", "kernel_simd", "denormals")
            ],
            extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra"],
            libraries=["m"],
        )
    ],
    cmdclass={"build_ext": BuildEngine},
)
