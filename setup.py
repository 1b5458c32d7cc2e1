"""The C extensions, and the dependencies of a wheel for each processor. The rest of the
metadata is in setup.cfg.

How the kernel is compiled: dsp/simd_builds.py.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))  # pip's build environment does not have the source tree on it

from dsp.simd_builds import ENGINE_SOURCES, KERNEL_SOURCES, builds_for, family_of  # noqa: E402


def target() -> str:
    """The machine that the compiler builds for, as in its triplet. It may differ from this machine:
    a 32-bit Raspberry Pi OS runs on a 64-bit kernel, and wheels for boards are cross-compiled."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    try:
        triplet = subprocess.run(
            [compiler, "-dumpmachine"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        triplet = platform.machine()
    return triplet.strip().split("-")[0]


FAMILY = family_of(target())
BINDING_SOURCES = (
    "binding.c",
    "binding_dense.c",
    "binding_engine.c",
    "binding_kernel.c",
    "binding_port.c",
    "binding_pulses.c",
    "binding_shaping.c",
    "binding_synthesis.c",
    "decay_lines.c",
    "dense.c",
    "pulses.c",
    "shaping.c",
    "synthesis.c",
    "watchdog.c",
)

REQUIRES = [
    "pyo>=1.1.0",
    "soundfile>=0.12",
    "gpiozero>=2.0",
    "argcomplete>=3.1",
    "smbus2>=0.4.3",
    "python-osc>=1.8",
]
# No platform_machine markers: that is the kernel's architecture, and a 32-bit Raspberry Pi OS runs
# on a 64-bit kernel ("aarch64"). A wheel of nverb is for one processor, so its dependencies are
# too. `make test-arm` installs the wheel of each ARM processor.
NUMPY, SOXR, LGPIO = "numpy>=1.26", "soxr>=0.5", "lgpio>=0.2.2"
LITERT = 'ai-edge-litert>=1.0.1; python_version < "3.14"'
REQUIRES += {
    "x86_64": [NUMPY, SOXR, LITERT],
    "aarch64": [NUMPY, SOXR, LGPIO, LITERT],
    # PyPI has no wheel of NumPy: Debian's python3-numpy is 1.24 in bookworm, and tflite-runtime
    # needs NumPy below 2. soxr before 0.4 can be cross-compiled.
    "arm": [
        'numpy>=1.24,<2; python_version < "3.12"',
        'numpy>=1.26; python_version >= "3.12"',
        "soxr>=0.3.7",
        LGPIO,
        'tflite-runtime>=2.14; python_version < "3.12"',
    ],
}.get(FAMILY, [NUMPY, SOXR])


class BuildEngine(build_ext):
    def build_extension(self, ext: Extension) -> None:
        folder = Path(self.build_temp) / "simd"
        for build in builds_for(FAMILY) if ext.name == "dsp._engine" else ():
            ext.extra_objects += self.compiler.compile(
                ["dsp/kernel_simd.c"],
                output_dir=str(folder / build.table),
                include_dirs=["dsp"],
                extra_postargs=[*build.arguments(FAMILY), "-fPIC"],
                depends=[
                    f"dsp/{name}.h"
                    for name in (
                        "decibels_vectors",
                        "dense_vectors",
                        "kernel_simd",
                        "kernel_vectors",
                        "latefield_lines",
                        "latefield_vectors",
                        "movement_vectors",
                        "pulses",
                        "pulses_vectors",
                        "shimmer_vectors",
                        "synthesis",
                        "synthesis_passes",
                        "synthesis_vectors",
                    )
                ],
            )
        super().build_extension(ext)


setup(
    install_requires=REQUIRES,
    ext_modules=[
        Extension(
            "dsp._engine",
            [f"dsp/{name}" for name in (*BINDING_SOURCES, *ENGINE_SOURCES, *KERNEL_SOURCES)],
            include_dirs=["dsp"],
            depends=sorted(f"dsp/{path.name}" for path in (ROOT / "dsp").glob("*.h")),
            extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra"],
            libraries=["m"],
        ),
        Extension(
            "firmware_py.control.jack_midi",
            ["firmware_py/control/jack_midi.c"],
            extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra"],
        ),
    ],
    cmdclass={"build_ext": BuildEngine},
)
