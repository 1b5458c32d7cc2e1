"""`nverb bench kernel`: every bar of the convolution kernel, measured on the very objects that the engine is made of.

Counts are instructions: exact, the same in each run. On x86-64 callgrind counts an AVX2 build (valgrind 3.19 knows no AVX-512), for
ARM qemu's user emulation does, by dsp/bench/count_plugin.c. Times are this machine's, now, with all else that runs on it.

The peer zita-convolver is compiled against here and nowhere else. For ARM its Debian packages are unpacked into a folder of the
user's cache; nothing is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsp.errors import UserError
from dsp.simd_builds import KERNEL_SOURCES, Family, builds_for
from firmware_py.state.settings import Settings
from models.packages import how_to_install

DSP = Path(__file__).parents[2] / "dsp"
TAPS, RATE_HZ = 97536, 48000
"""2.03 s, as long as the reference plug-in's IRs."""
BLOCKS = (64, 128, 256)
FADE_FRAMES = 720
BOARDS_GB_S = (("Cortex-A8", 0.5), ("Cortex-A53", 1.5))
ZITA_PACKAGES = ("libzita-convolver4", "libzita-convolver-dev", "libfftw3-single3")


@dataclass(frozen=True)
class Platform:
    name: str
    prefix: str  # of the compiler's name
    tools: tuple[tuple[str, str], ...]  # program, Debian package
    family: Family  # of dsp/simd_builds.py
    bar: float  # Ir over zita's
    debian: str = ""
    qemu: str = ""
    cpu: str = ""


PLATFORMS = (
    Platform(
        "x86-64",
        "",
        (("gcc", "gcc"), ("valgrind", "valgrind")),
        "x86_64",
        0.25,
    ),
    Platform(
        "aarch64",
        "aarch64-linux-gnu-",
        (("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"), ("qemu-aarch64", "qemu-user")),
        "aarch64",
        0.40,
        "arm64",
        "qemu-aarch64",
        "cortex-a72",
    ),
    Platform(
        "armhf",
        "arm-linux-gnueabihf-",
        (("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf"), ("qemu-arm", "qemu-user")),
        "arm",
        0.27,
        "armhf",
        "qemu-arm",
        "cortex-a15",
    ),
)


def say(text: str) -> None:
    """Progress, where a person looks at it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def run(command: Sequence[str | Path], what: str, **more: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, check=False, **more
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(
            f"{what} failed: {lines[-1] if lines else f'exit status {done.returncode}'}"
        )
    return done


def missing(platform: Platform, *more: tuple[str, str]) -> str:
    """The command that installs what is missing, or nothing."""
    packages = sorted(
        {package for tool, package in (*platform.tools, *more) if shutil.which(tool) is None}
    )
    return f"sudo apt-get install {' '.join(packages)}" if packages else ""


# ---- building and counting ---------------------------------------------------------------------------------------------------


class Counter:
    """Programs of dsp/bench for one platform, and the instructions between their marks."""

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
        program = self.folder / name
        if not program.exists():
            static = ["-static"] if self.platform.qemu else []
            sources = [DSP / f"bench/{name}.c", *(DSP / source for source in KERNEL_SOURCES)]
            gcc = self.platform.prefix + "gcc"
            run(
                [
                    gcc,
                    "-std=gnu11",
                    "-O2",
                    "-no-pie",
                    *static,
                    f"-I{DSP}",
                    "-o",
                    program,
                    *sources,
                    *self.objects,
                    "-lm",
                ],
                gcc,
            )
        return program

    def build_zita(self) -> Path | str:
        """The program, or the command that installs what it lacks."""
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
        command = [
            gxx,
            "-O2",
            "-no-pie",
            "-Wno-psabi",
            f"-I{DSP}",
            *where,
            "-o",
            program,
            DSP / "bench/zita.cpp",
        ]
        try:
            run([*command, "-lzita-convolver", "-l:libfftw3f.so.3", "-lpthread"], gxx)
        except UserError:
            return "sudo apt-get install libzita-convolver-dev"
        return program

    def count(self, program: Path, **arguments: int) -> tuple[list[int], list[str]]:
        """Instructions between marks, and what the program printed."""
        words = [f"{key}={value}" for key, value in arguments.items()]
        if not self.platform.qemu:
            with tempfile.TemporaryDirectory() as folder:
                options = [
                    "--tool=callgrind",
                    "--dump-before=mark",
                    f"--callgrind-out-file={folder}/out",
                ]
                done = run(["valgrind", *options, program, *words], "valgrind")
                dumps = sorted(Path(folder).glob("out.*"), key=lambda p: int(p.suffix[1:]))
                totals = []
                for dump in dumps:
                    if found := re.search(r"^totals: (\d+)", dump.read_text(), re.M):
                        totals.append(int(found[1]))
            return totals[1:], done.stdout.split("\n")
        symbols = run([self.platform.prefix + "nm", program], "nm").stdout
        mark = re.search(r"^([0-9a-f]+) . mark$", symbols, re.M)
        assert mark
        environment = os.environ | {"QEMU_CPU": self.platform.cpu}
        if self.peer_root:
            libraries = f"/usr/{self.platform.prefix[:-1]}"
            environment["QEMU_LD_PREFIX"] = libraries
            paths = [p for p in (self.peer_root / "usr/lib").glob("*-linux-*")]
            environment["QEMU_SET_ENV"] = f"LD_LIBRARY_PATH={paths[0]}"
        plugin = f"{self.folder}/count.so,mark=0x{mark[1]}"
        done = run(
            [self.platform.qemu, "-plugin", plugin, program, *words],
            self.platform.qemu,
            env=environment,
        )
        return [int(n) for n in re.findall(r"^mark (\d+)", done.stderr, re.M)][
            1:
        ], done.stdout.split("\n")


def debian_root(architecture: str) -> Path | str:
    """zita-convolver's packages of another architecture, unpacked; or why not. apt's own files are left alone."""
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        / "nverb"
        / "bench"
        / architecture
    )
    root = cache / "root"
    if (root / "done").exists():
        return root
    for folder in ("state/lists/partial", "cache/archives/partial", "root"):
        (cache / folder).mkdir(parents=True, exist_ok=True)
    (cache / "state/status").touch()
    options = []
    for key, value in {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Dir::State": cache / "state",
        "Dir::State::status": cache / "state/status",
        "Dir::Cache": cache / "cache",
    }.items():
        options += ["-o", f"{key}={value}"]
    say(f"fetching zita-convolver for {architecture}")
    try:
        subprocess.run(["apt-get", *options, "update"], capture_output=True, check=False)
        run(["apt-get", *options, "download", *ZITA_PACKAGES], "apt-get", cwd=cache)
        for package in cache.glob("*.deb"):
            run(["dpkg", "-x", package, root], "dpkg")
    except (UserError, OSError):
        return f"a network, and a Debian whose archive has {ZITA_PACKAGES[0]}:{architecture}"
    (root / "done").touch()
    return root


@dataclass
class Counted:
    """One run of dsp/bench/count.c."""

    ir: list[int]
    stages: list[tuple[int, int, int, int, int]]
    estimate: float
    kernel_bytes: int
    spectra_bytes: int
    touched_bytes: float
    change_blocks: int

    @property
    def mean(self) -> float:
        return float(np.mean(self.ir))

    @property
    def partitions(self) -> str:
        return " + ".join(f"{n} x {size}" for size, n, *_ in self.stages)


def counted(counter: Counter, **arguments: int) -> Counted:
    ir, printed = counter.count(counter.build("count"), **arguments)
    lines = [line.split() for line in printed if line]
    stages = [tuple(int(w) for w in line) for line in lines[:-3]]
    sizes = lines[-2]
    return Counted(
        ir,
        stages,  # type: ignore[arg-type]
        float(lines[-3][0]),
        int(sizes[0]),
        int(sizes[1]),
        float(sizes[2]),
        int(lines[-1][0]),
    )


# ---- the figures -------------------------------------------------------------------------------------------------------------


def measure_counts(counter: Counter) -> dict[str, Any]:
    """Ir per block and worst block over mean, of ours and of zita, for each block size."""
    rows = []
    zita = counter.build_zita()
    for block in BLOCKS:
        say(f"{counter.platform.name}, {block} frames")
        ours = counted(counter, block=block)
        row: dict[str, Any] = {
            "block": block,
            "ir": ours.mean,
            "worst_over_mean": max(ours.ir) / ours.mean,
            "partitions": ours.partitions,
            "touched_mb_s": ours.touched_bytes * RATE_HZ / block / 1e6,
            "work_bytes": ours.kernel_bytes + ours.spectra_bytes - 2 * 16 * TAPS,
        }
        if isinstance(zita, Path):
            blocks = (
                32 * 8192 // block
            )  # its threads let work slip over the marks: long against its largest partition
            row["zita_ir"] = (
                counter.count(zita, block=block, taps=TAPS, blocks=blocks)[0][0] / blocks
            )
            row["over_zita"] = row["ir"] / row["zita_ir"]
        rows.append(row)
    return {
        "bar": counter.platform.bar,
        "rows": rows,
        "zita_needs": zita if isinstance(zita, str) else "",
    }


def measure_shapes(counter: Counter) -> dict[str, float]:
    """Other rooms at 64 frames, over the stereo one."""
    say(f"{counter.platform.name}, other rooms")
    stereo = counted(counter).mean
    return {
        "8 s": counted(counter, taps=8 * RATE_HZ).mean / stereo,
        "mono in": counted(counter, inputs=1).mean / stereo,
        "true stereo": counted(counter, channels=4).mean / stereo,
    }


def measure_change(
    counter: Counter, taps: int = TAPS, longest_partition: int = 2048, block: int = 64
) -> dict[str, float]:
    """A change of IR at eight places of the longest stage's course: worst block and all extra work, over the mean; its length."""
    worst = extra = longest = 0.0
    extras = []
    for phase in range(8):
        say(f"{counter.platform.name}, change of IR of {taps / RATE_HZ:.1f} s, {phase + 1} of 8")
        period = longest_partition // block
        at = period + phase * period // 8
        done = counted(
            counter, block=block, taps=taps, blocks=6 * period, change=at, fade=FADE_FRAMES
        )
        quiet = float(np.mean(done.ir[:period]))
        extra = sum(done.ir[period:]) / quiet - 5 * period
        extras.append(extra)
        worst = max(worst, max(done.ir) / quiet)
        longest = max(longest, 1000 * done.change_blocks * block / RATE_HZ)
    return {
        "worst_over_mean": worst,
        "extra_blocks": float(np.mean(extras)),
        "extra_blocks_most": max(extras),
        "ms": longest,
    }


def measure_plan(counter: Counter, block: int, taps: int, inputs: int) -> list[dict[str, Any]]:
    """Each stage's estimate beside what is counted: by leaving out the stages after it."""
    whole = counted(counter, block=block, taps=taps, inputs=inputs)
    rows, before, before_estimate = [], 0.0, 0.0
    for n, (size, partitions, offset, delay, early) in enumerate(whole.stages, 1):
        say(f"stage {n} of {len(whole.stages)}")
        part = counted(counter, block=block, taps=taps, inputs=inputs, stages=n)
        rows.append(
            {
                "partition_frames": size,
                "partitions": partitions,
                "first_tap": offset,
                "delay_blocks": delay,
                "works_ahead": bool(early),
                "estimate": part.estimate - before_estimate,
                "counted": part.mean - before,
            }
        )
        before, before_estimate = part.mean, part.estimate
    return rows


def measure_error() -> dict[str, float]:
    """rms and peak of the difference to convolution in float64, the worst of all blocks, lengths and signals; and the latency."""
    from dsp import _engine

    rng = np.random.default_rng(1)
    rms_db = peak_db = -999.0
    for block in (16, 64, 128, 256, 1024):
        for taps in (1, 5000, TAPS, 10 * RATE_HZ):
            say(f"error, {block} frames, {taps} taps")
            kernel = _engine.Kernel(_engine.plan(block, taps, 2), FADE_FRAMES)
            ir = (rng.standard_normal((2, taps)) * np.exp(-5 * np.arange(taps) / taps)).astype(
                np.float32
            )
            kernel.load(ir)
            frames = (taps // 2 + 48000) // block * block
            sound = (0.1 * rng.standard_normal((2, frames))).astype(np.float32)
            out = np.empty((2, frames), np.float32)
            while kernel.fading:
                kernel.process(np.zeros((2, block), np.float32), out[:, :block].copy())
            kernel.process(sound, out)
            size = 1 << (frames + taps).bit_length()
            expected = np.fft.irfft(
                np.fft.rfft(sound.astype(float), size) * np.fft.rfft(ir.astype(float), size), size
            )
            difference = out - expected[:, :frames]
            rms = np.sqrt(np.mean(difference**2) / np.mean(expected[:, :frames] ** 2))
            rms_db = max(rms_db, 20 * float(np.log10(rms)))
            peak_db = max(
                peak_db, 20 * float(np.log10(np.abs(difference).max() / np.abs(expected).max()))
            )
    return {"rms_db": rms_db, "peak_db": peak_db, "latency_frames": 0}


def measure_times(counter: Counter) -> list[dict[str, Any]]:
    """Median, 99.9th percentile and largest time of a block in microseconds, one after the other and at the pace of audio; of C
    programs also the processor time of all threads."""
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
                arguments = ["-m", "firmware_py.bench.peers", peer, str(block), str(paced)]
                named.append((f"{peer}, Python", [sys.executable, *arguments]))
            for name, command in named:
                say(f"time of {name}, {block} frames")
                try:
                    words = run(command, name).stdout.split()
                    times = dict(
                        zip(
                            ("median_us", "p999_us", "worst_us", "cpu_us"),
                            map(float, words),
                            strict=False,
                        )
                    )
                    rows.append({"engine": name, "block": block, "paced": bool(paced), **times})
                except UserError as error:
                    needs = re.search(r"No module named '(\w+)'", str(error))
                    why = how_to_install(needs[1]) if needs else str(error)
                    rows.append(
                        {"engine": name, "block": block, "paced": bool(paced), "needs": why}
                    )
    return rows


def measure_denormals(counter: Counter) -> float:
    """Time of a block after a loud second and 60 s of silence over a block's of noise: the least of five pairs of medians."""
    program, ratios = counter.build("time"), []
    for _ in range(5):
        say("silence after a loud second")
        times = [
            float(run([program, f"silent={silent}", "seconds=1"], "time").stdout.split()[0])
            for silent in (1, 0)
        ]
        ratios.append(times[0] / times[1])
    return float(min(ratios))


def counters(folder: Path, names: Sequence[str] = ()) -> tuple[list[Counter], dict[str, str]]:
    """For each platform that can be counted here; and, by name, what would install the others."""
    able, unable = [], {}
    for platform in PLATFORMS:
        if names and platform.name not in names:
            continue
        if lacking := missing(platform):
            unable[platform.name] = lacking
        else:
            able.append(Counter(platform, folder))
    return able, unable


def measure(*, times: bool = True) -> dict[str, Any]:
    """All of it, as a dictionary for programs and for `table`."""
    from dsp import _engine

    figures: dict[str, Any] = {"counts": {}, "shapes": {}, "change": {}}
    with tempfile.TemporaryDirectory() as name:
        able, figures["needs"] = counters(Path(name))
        for counter in able:
            figures["counts"][counter.platform.name] = measure_counts(counter)
            figures["shapes"][counter.platform.name] = measure_shapes(counter)
            figures["change"][counter.platform.name] = measure_change(counter)
        figures["error"] = measure_error()
        native = [c for c in able if not c.platform.qemu]
        if native:
            taps = round(Settings().max_ir_s * RATE_HZ)
            longest_partition = _engine.stages(_engine.plan(64, taps))[-1][0]
            figures["longest_change"] = measure_change(native[0], taps, longest_partition)
        if native and times:
            figures["times"] = measure_times(native[0])
            figures["denormals"] = measure_denormals(native[0])
    say("")
    return figures


def plan(block: int, taps: int, inputs: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        able, unable = counters(Path(name), ("x86-64",))
        if not able:
            raise UserError(f"the kernel cannot be counted here: {unable['x86-64']}")
        rows = measure_plan(able[0], block, taps, inputs)
    say("")
    return rows


# ---- printing ----------------------------------------------------------------------------------------------------------------


def verdict(value: float, bar: float) -> str:
    return f"bar {bar:g}" + ("" if value <= bar else f", missed by {100 * (value / bar - 1):.0f} %")


def table(figures: dict[str, Any]) -> str:
    lines = [
        f"Instructions, counted: stereo room of {TAPS / RATE_HZ:.2f} s, {RATE_HZ} Hz, float32",
        "",
    ]
    lines.append(
        f"{'':9}{'frames':>6}{'Ir / block':>12}{'zita':>10}{'ratio':>8}{'worst / mean':>14}{'moves':>10}  partitions"
    )
    for name, part in figures["counts"].items():
        for row in part["rows"]:
            zita, ratio = (
                (f"{row['zita_ir']:10.0f}", f"{row['over_zita']:8.3f}")
                if "zita_ir" in row
                else (f"{'-':>10}", f"{'-':>8}")
            )
            lines.append(
                f"{name:9}{row['block']:6}{row['ir']:12.0f}{zita}{ratio}{row['worst_over_mean']:14.3f}"
                f"{row['touched_mb_s']:6.0f} MB/s  {row['partitions']}"
            )
        worst = max(row["worst_over_mean"] for row in part["rows"])
        if part["zita_needs"]:
            lines.append(f"{'':9}zita is not here: {part['zita_needs']}")
        else:
            most = max(row["over_zita"] for row in part["rows"])
            lines.append(
                f"{'':9}ratio: {verdict(most, part['bar'])}; worst block over mean: {verdict(worst, 1.10)}"
            )
    for name, needs in figures["needs"].items():
        lines.append(f"{name:9}cannot be counted here: {needs}")
    boards = ", ".join(f"{board} {gb * 1000:.0f} MB/s" for board, gb in BOARDS_GB_S)
    lines += ["", f"Memory that a board can move: {boards}"]
    titles = {
        "shapes": "Other rooms at 64 frames, over the stereo one, counted",
        "change": f"A change of IR at 64 frames with a crossfade of {1000 * FADE_FRAMES / RATE_HZ:.0f} ms, counted",
    }
    for title, heading in titles.items():
        lines += ["", heading]
        for name, part in figures[title].items():
            if title == "shapes":
                bars = {"8 s": 1.25, "mono in": 0.75, "true stereo": 1.6}
                text = "; ".join(
                    f"{key} {value:.3f} ({verdict(value, bars[key])})"
                    for key, value in part.items()
                )
            else:
                text = (
                    f"worst block {part['worst_over_mean']:.3f} of the mean ({verdict(part['worst_over_mean'], 1.45)}); "
                    f"extra work {part['extra_blocks']:.1f} mean blocks, at most {part['extra_blocks_most']:.1f} "
                    f"({verdict(part['extra_blocks_most'], 20)}); complete in {part['ms']:.0f} ms ({verdict(part['ms'], 100)})"
                )
            lines.append(f"{name:9}{text}")
    if "longest_change" in figures:
        part = figures["longest_change"]
        lines.append(
            f"{'here':9}a room as long as the pedal's default, {Settings().max_ir_s:g} s: worst block {part['worst_over_mean']:.3f} of the "
            f"mean; extra work at most {part['extra_blocks_most']:.1f} mean blocks; complete in {part['ms']:.0f} ms (no bars)"
        )
    memory = max(
        (row["work_bytes"] for part in figures["counts"].values() for row in part["rows"]),
        default=0,
    )
    lines += [
        "",
        f"Memory beyond 16 bytes a tap and channel: {memory / 2**20:.2f} MiB ({verdict(memory / 2**20, 0.5)})",
    ]
    error = figures["error"]
    lines.append(
        f"Error against float64: {error['rms_db']:.1f} dB of rms ({verdict(-130 / error['rms_db'] * 130, 130)} dB below), "
        f"{error['peak_db']:.1f} dB of peak; added latency {error['latency_frames']} frames"
    )
    if "times" in figures:
        lines += [
            "",
            "Times of a block in microseconds, on this machine as busy as it is: noise, not a figure to quote",
            "",
        ]
        lines.append(
            f"{'':20}{'frames':>6}{'':>10}{'median':>10}{'99.9 %':>10}{'longest':>10}{'processor':>11}"
        )
        for row in figures["times"]:
            start = f"{row['engine']:20}{row['block']:6}{'paced' if row['paced'] else 'free':>10}"
            cpu = f"{row['cpu_us']:.1f}" if "cpu_us" in row else ""
            if "needs" in row:
                lines.append(f"{start}   not here: {row['needs']}")
            else:
                lines.append(
                    f"{start}{row['median_us']:10.1f}{row['p999_us']:10.1f}{row['worst_us']:10.1f}{cpu:>11}"
                )
        ratio = figures["denormals"]
        lines += [
            "",
            f"Block after a loud second and 60 s of silence, over a block of noise (time, paired): {ratio:.2f} (bar 1)",
        ]
    return "\n".join(lines)


def plan_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{'partitions':>16}{'first tap':>11}{'delay':>7}{'ahead':>7}{'estimate':>10}{'counted':>10}{'':>8}"
    ]
    for row in rows:
        size = f"{row['partitions']} x {row['partition_frames']}"
        lines.append(
            f"{size:>16}{row['first_tap']:11}{row['delay_blocks']:7}{'yes' if row['works_ahead'] else 'no':>7}"
            f"{row['estimate']:10.0f}{row['counted']:10.0f}{100 * (row['estimate'] / row['counted'] - 1):+7.0f}%"
        )
    total, count = sum(r["estimate"] for r in rows), sum(r["counted"] for r in rows)
    lines.append(
        f"{'all':>16}{'':11}{'':7}{'':7}{total:10.0f}{count:10.0f}{100 * (total / count - 1):+7.0f}%"
    )
    return "\n".join(lines)
