"""`nverb bench kernel`: build the programs of dsp/bench and count their instructions.

On x86-64 callgrind counts an AVX2 build (valgrind 3.19 does not support AVX-512). For ARM, qemu's
user emulation counts with the plugin dsp/bench/count_plugin.c. Counts are the same in each run.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsp.errors import UserError
from dsp.simd_builds import KERNEL_SOURCES, builds_for
from firmware_py.bench.kernel_platforms import PLATFORMS, Platform, debian_root, missing, run

DSP = Path(__file__).parents[2] / "dsp"
LATE_SOURCES = (
    "engine_filters.c",
    "latefield.c",
    "latefield_build.c",
    "latefield_room.c",
    "movement.c",
    "shimmer.c",
)
ROOM_SOURCES = ("decay_lines.c", "dense.c", "pulses.c", "shaping.c", "synthesis.c")


def callgrind(command: Sequence[str | Path]) -> tuple[list[int], list[str]]:
    """Run a command. Returns the instructions between marks, which are calls of mark() or
    CALLGRIND_DUMP_STATS, and the lines that it printed. Raises UserError."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--dump-before=mark", f"--callgrind-out-file={folder}/out"]
        done = run(["valgrind", "--tool=callgrind", *options, *command], "valgrind")
        dumps = sorted(Path(folder).glob("out.*"), key=lambda p: int(p.suffix[1:]))
        totals = []
        for dump in dumps:
            if found := re.search(r"^totals: (\d+)", dump.read_text(), re.M):
                totals.append(int(found[1]))
    return totals[1:], done.stdout.split("\n")


class InstructionCounter:
    """Builds the programs of dsp/bench for one platform and counts instructions between marks."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self.platform, self.folder = platform, folder / platform.name
        self.folder.mkdir()
        self.peer_root: Path | None = None
        gcc = platform.prefix + "gcc"
        self.objects = []
        for build in builds_for(platform.family):
            target = self.folder / f"{build.table}.o"
            run(
                [gcc, *build.arguments(platform.family), "-c", DSP / "kernel_simd.c", "-o", target],
                gcc,
            )
            self.objects.append(target)
        if platform.qemu:
            plugin = self.folder / "count.so"
            run(
                ["gcc", "-O2", "-shared", "-fPIC", "-o", plugin, DSP / "bench/count_plugin.c"],
                "gcc",
            )

    def build(self, name: str) -> Path:
        """Build dsp/bench/`name`.c once. Raises UserError."""
        program = self.folder / name
        if not program.exists():
            static = ["-static"] if self.platform.qemu else []
            sources = [DSP / f"bench/{name}.c"]
            used = (*LATE_SOURCES, *ROOM_SOURCES, *KERNEL_SOURCES)
            sources += [DSP / source for source in used]
            gcc = self.platform.prefix + "gcc"
            options = ["-std=gnu11", "-O2", "-no-pie", *static, f"-I{DSP}"]
            run([gcc, *options, "-o", program, *sources, *self.objects, "-lm"], gcc)
        return program

    def build_zita(self) -> Path | str:
        """Build dsp/bench/zita.cpp. Returns the program, or the command that installs a tool."""
        program = self.folder / "zita"
        if program.exists():
            return program
        gxx = self.platform.prefix + "g++"
        package = "g++" + (f"-{self.platform.prefix[:-1]}" if self.platform.prefix else "")
        if lacking := missing(self.platform, (gxx, package)):
            return lacking
        where: list[str | Path] = []
        if self.platform.debian:
            root = debian_root(self.platform.debian)
            if isinstance(root, str):
                return root
            self.peer_root = root
            libraries = next((root / "usr/lib").glob("*-linux-*"))
            where = [f"-I{root}/usr/include", f"-L{libraries}", f"-Wl,-rpath-link,{libraries}"]
        command = [gxx, "-O2", "-no-pie", "-Wno-psabi", f"-I{DSP}", *where, "-o", program]
        try:
            peer = ["-lzita-convolver", "-l:libfftw3f.so.3", "-lpthread"]
            run([*command, DSP / "bench/zita.cpp", *peer], gxx)
        except UserError:
            return "sudo apt-get install libzita-convolver-dev"
        return program

    def count(self, program: Path, **arguments: int | Path) -> tuple[list[int], list[str]]:
        """Run a program. Returns the instructions between marks, and the lines it printed."""
        words = [f"{key}={value}" for key, value in arguments.items()]
        if self.platform.qemu:
            return self._count_in_qemu(program, words)
        return callgrind([program, *words])

    def _count_in_qemu(self, program: Path, words: list[str]) -> tuple[list[int], list[str]]:
        symbols = run([self.platform.prefix + "nm", program], "nm").stdout
        mark = re.search(r"^([0-9a-f]+) . mark$", symbols, re.M)
        assert mark
        environment = os.environ | {"QEMU_CPU": self.platform.cpu}
        if self.peer_root:
            environment["QEMU_LD_PREFIX"] = f"/usr/{self.platform.prefix[:-1]}"
            libraries = next((self.peer_root / "usr/lib").glob("*-linux-*"))
            environment["QEMU_SET_ENV"] = f"LD_LIBRARY_PATH={libraries}"
        plugin = f"{self.folder}/count.so,mark=0x{mark[1]}"
        qemu = self.platform.qemu
        done = run([qemu, "-plugin", plugin, program, *words], qemu, env=environment)
        counts = [int(n) for n in re.findall(r"^mark (\d+)", done.stderr, re.M)]
        return counts[1:], done.stdout.split("\n")


class Stage(NamedTuple):
    """One stage of a partition plan, as dsp/bench/count.c prints it."""

    size: int
    partitions: int
    offset: int
    delay: int
    early: int


@dataclass
class Counted:
    """The results of one run of dsp/bench/count.c."""

    ir: list[int]
    """Instructions of each block."""
    stages: list[Stage]
    estimate: float
    """The cost model's instructions per block."""
    kernel_bytes: int
    spectra_bytes: int
    touched_bytes: float
    product_bytes: float
    """Of these by rings and filters."""
    change_blocks: int

    @property
    def mean(self) -> float:
        return float(np.mean(self.ir))

    @property
    def partitions(self) -> str:
        return " + ".join(f"{stage.partitions} x {stage.size}" for stage in self.stages)


def counted(counter: InstructionCounter, **arguments: int) -> Counted:
    """Run dsp/bench/count.c with these arguments. Raises UserError."""
    ir, printed = counter.count(counter.build("count"), **arguments)
    lines = [line.split() for line in printed if line]
    sizes = lines[-2]
    return Counted(
        ir,
        [Stage(*(int(word) for word in line)) for line in lines[:-3]],
        float(lines[-3][0]),
        int(sizes[0]),
        int(sizes[1]),
        float(sizes[2]),
        float(sizes[3]),
        int(lines[-1][0]),
    )


def counters(
    folder: Path, names: Sequence[str] = ()
) -> tuple[list[InstructionCounter], dict[str, str]]:
    """A counter for each platform that this machine can measure (`names`: of these only).

    Also returns, by platform name, the command that makes the others available.
    """
    able, unable = [], {}
    for platform in PLATFORMS:
        if names and platform.name not in names:
            continue
        if lacking := missing(platform):
            unable[platform.name] = lacking
        else:
            able.append(InstructionCounter(platform, folder))
    return able, unable
