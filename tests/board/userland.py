"""`make test-arm`, the Python part: nverb's wheel in the userlands of boards, under qemu-user.

| Debian          | Python | NumPy       | soxr       | lgpio | TFLite runtime |
|-----------------|--------|-------------|------------|-------|----------------|
| bookworm, arm64 | 3.11   | PyPI        | PyPI       | PyPI  | ai-edge-litert |
| trixie, arm64   | 3.13   | PyPI        | PyPI       | ours  | ai-edge-litert |
| bookworm, armhf | 3.11   | Debian 1.24 | ours 0.3.7 | PyPI  | tflite-runtime |
| trixie, armhf   | 3.13   | Debian 2.2  | Debian     | ours  | none           |

Raspberry Pi OS is all of these; a BeagleBone runs bookworm, armhf. "ours": PyPI has no wheel, so
wheels.py cross-compiles one. It also cross-compiles pyo. Without a TFLite runtime nverb computes
the decoder itself (models/integers.py).

Packages are unpacked but not configured: their programs run, and no maintainer script has to be
emulated. The results of probe.py are compared with those of this machine.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cache
import debian
import numpy as np
import wheels
from cache import HERE, REPOSITORY, Trouble
from debian import Platform, layered
from report import Report

USERLANDS = [
    Platform("arm64", "bookworm"),
    Platform("arm64", "trixie"),
    Platform("armhf", "bookworm"),
    Platform("armhf", "trixie"),
]
PACKAGES = [
    "python3",
    "python3-venv",
    "libjack-jackd2-0",
    "libsndfile1",
    "libstdc++6",
    "libgomp1",
    "ca-certificates",
    "coreutils",
    "dash",
    "bash",
    "dpkg",
    "libc-bin",
    "make",
    "tzdata",
]
TESTS = [
    "tests/device/test_adc.py",
    "tests/device/test_board.py",
    "tests/device/test_check.py",
    "tests/device/test_health.py",
    "tests/device/test_lines.py",
    "tests/device/test_wire.py",
    "tests/firmware_py/control/test_control.py",
    "tests/firmware_py/rooms/test_rooms.py",
]
"""Tests of code that depends on the platform; they need no package of the desk."""
WANTED_FILES = (
    "device/profiles/pi-mcp3008.toml",
    "models/shipped/decoder.nvmodel",
    "models/shipped/rooms.nvbank",
    "systemd/nverb-audio.service",
    "dsp/kernel.h",
)
BANK_BAR_DB, DECODER_BAR_DB, IR_BAR_DB, KERNEL_BAR_DB = 1e-3, 0.05, -80.0, -110.0
ROOM_BAR_DB, RESAMPLER_BAR_DB = -50.0, -120.0

INSTALL = """
ldconfig
# Replace maintainer scripts: certificates for pip, a BLAS for Debian's NumPy.
cat /usr/share/ca-certificates/mozilla/*.crt > /etc/ssl/certs/ca-certificates.crt
cd /usr/lib/arm-linux-gnueabihf 2>/dev/null &&
ln -sf blas/libblas.so.3 lapack/liblapack.so.3 . || true
cd /usr/src/nverb
make -s install WHEELS=/usr/src/wheels APT_PEDAL= INSTALL_ARGS=--help >/dev/null
ln -s /opt/nverb/*/ /opt/nverb/current
/opt/nverb/current/bin/pip check
/opt/nverb/current/bin/pip install -q --no-index --find-links /usr/src/tools pytest
"""
"""The installation as on a board, but without `nverb service install` and APT."""


def root(platform: Platform) -> Path:
    packages = (
        PACKAGES + platform.packages + [f"python3-{name}" for name in wheels.from_debian(platform)]
    )
    return cache.made(
        f"userland-{platform.name}",
        [packages],
        lambda target: debian.bootstrap(platform, target, packages, variant="extract"),
    )


def _tools() -> Path:
    def make(target: Path) -> None:
        words = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--only-binary=:all:",
            "--platform",
            "any",
            "-d",
            target,
            "pytest",
        ]
        cache.run(words, what="downloading pytest", tries=2)

    return cache.made("pytest", ["pytest 1"], make)


def _installed(platform: Platform) -> Path:
    """The layer that `make install` of this checkout's wheel makes."""
    below, house, tools = root(platform), wheels.house(platform), _tools()

    def make(target: Path) -> None:
        with layered(below, upper=target) as merged:
            for name, folder in (("wheels", house), ("tools", tools)):
                shutil.copytree(folder, merged / "usr/src" / name, dirs_exist_ok=True)
            (merged / "usr/src/nverb").mkdir()
            shutil.copy(REPOSITORY / "Makefile", merged / "usr/src/nverb")
            debian.chroot(platform, merged, INSTALL, what=f"make install on {platform.name}")

    parts = [
        INSTALL,
        REPOSITORY / "Makefile",
        below.name,
        house.name,
        wheels.nverb(platform).parent.name,
        tools.name,
    ]
    return cache.made(f"venv-{platform.name}", parts, make)


def _here() -> dict[str, object]:
    words = [sys.executable, str(HERE / "probe.py")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "NVERB_DATA_DIR": tempfile.mkdtemp()}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64)


LOADS = (
    "for m in lgpio gpiozero smbus2 pythonosc; do "
    '/opt/nverb/current/bin/python -c "import $m" 2>/dev/null || echo $m; done'
)


def check(platform: Platform, here: dict, report: Report) -> None:
    def add(what: str, figure: object, bar: str = "", *, ok: bool = True) -> None:
        report.add(platform.suite, platform.arch, what, figure, bar, ok=ok)

    layers = [_installed(platform), root(platform)]
    with (
        tempfile.TemporaryDirectory(dir=cache.folder()) as upper,
        layered(*layers, upper=Path(upper)) as merged,
    ):
        source = merged / "usr/src"
        shutil.copy(HERE / "probe.py", source)
        script = (
            "mkdir -p /tmp/d; cd /tmp; export NVERB_DATA_DIR=/tmp/d PYO_GUI_WX=0; "
            "/opt/nverb/current/bin/python /usr/src/probe.py 2>/tmp/err || "
            "{ cat /tmp/err; exit 1; }"
        )
        there = json.loads(
            debian.chroot(platform, merged, script, what=f"probe on {platform.name}").splitlines()[
                -1
            ]
        )
        add(
            "installed from its wheel",
            f"Python {there['python']}, numpy {there['numpy']}, {there['machine']}",
        )
        missing = [name for name in WANTED_FILES if name not in there["files"]]
        add(
            "wheel's contents",
            f"{len(there['files'])} files, missing: {', '.join(missing) or 'none'}",
            "none missing",
            ok=not missing,
        )
        add("kernel's instructions", there["simd"])
        wrong = debian.chroot(
            platform, merged, LOADS, what=f"loading libraries on {platform.name}"
        ).split()
        add(
            "libraries for pots, switches and LEDs load",
            " ".join(wrong) or "all",
            "all",
            ok=not wrong,
        )
        add(
            "graph and kernel against float64",
            f"{there['kernel_db']:.0f} dB",
            f"<= {KERNEL_BAR_DB:g} dB",
            ok=there["kernel_db"] <= KERNEL_BAR_DB,
        )
        worst = _worst(here["bank"], there["bank"])
        add(
            "bank against this machine's",
            f"{worst:.1e} dB",
            f"<= {BANK_BAR_DB:g} dB",
            ok=worst <= BANK_BAR_DB,
        )
        error = _difference_db(here["bank_ir"], there["bank_ir"])
        add(
            "IR from the bank against this machine's",
            f"{error:.0f} dB",
            f"<= {IR_BAR_DB:g} dB",
            ok=error <= IR_BAR_DB,
        )
        error = _difference_db(here["resampled"], there["resampled"])
        add(
            f"soxr {there['soxr']}",
            f"{error:.0f} dB",
            f"<= {RESAMPLER_BAR_DB:g} dB",
            ok=error <= RESAMPLER_BAR_DB,
        )
        if there["decoder"] is None:
            add("decoder", there["said"], "runs", ok=False)
            played, bar = here["bank_ir"], IR_BAR_DB
        else:
            mean = _worst(here["decoder"], there["decoder"], mean=True)
            add(
                f"decoder ({there['runtime'] or 'own'}), mean difference",
                f"{mean:.1e} dB",
                f"<= {DECODER_BAR_DB} dB",
                ok=mean <= DECODER_BAR_DB,
            )
            played, bar = here["room_ir"], ROOM_BAR_DB
        error = _difference_db(played, there["room_ir"])
        by = "the bank instead of the decoder" if there["decoder"] is None else "the decoder"
        add(
            f"IR from {by} against this machine's",
            f"{error:.0f} dB",
            f"<= {bar:g} dB",
            ok=error <= bar,
        )
        shutil.copytree(
            REPOSITORY / "tests", source / "tests", ignore=shutil.ignore_patterns("__pycache__")
        )
        python = "/opt/nverb/current/bin/python -m pytest -q -p no:cacheprovider"
        tests = f"cd /usr/src && mkdir -p /dev/shm && {python} {' '.join(TESTS)} 2>&1 | tail -n 5"
        last = (
            debian.chroot(platform, merged, tests, what=f"pytest on {platform.name}")
            .strip()
            .splitlines()[-1]
        )
        add(
            f"unit tests ({len(TESTS)} files)",
            last.strip("= "),
            "all pass",
            ok="passed" in last and "failed" not in last and "error" not in last,
        )


def _difference_db(wanted: object, got: object) -> float:
    """Largest difference of two packed signals, relative to the peak of `wanted`, in dB."""
    one, other = unpacked(str(wanted)), unpacked(str(got))
    if one.shape != other.shape:
        return 0.0
    return 20 * float(np.log10(max(np.abs(one - other).max(), 1e-9) / np.abs(one).max()))


def _worst(one: dict, other: dict, *, mean: bool = False) -> float:
    pick = np.mean if mean else np.max
    return max(float(pick(np.abs(unpacked(one[key]) - unpacked(other[key])))) for key in one)


def main() -> int:
    names = [p.name for p in USERLANDS]
    parser = argparse.ArgumentParser(
        description="nverb in the userlands of ARM boards, under qemu-user."
    )
    parser.add_argument(
        "--only", default=",".join(names), help=f"of {', '.join(names)}; several with commas"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    unknown = set(args.only.split(",")) - set(names)
    if unknown:
        parser.error(f"{unknown.pop()}: there are {', '.join(names)}")
    if os.geteuid() != 0:
        print("test-arm: needs root, to mount and chroot: sudo make test-arm", file=sys.stderr)
        return 1
    report = Report()
    try:
        here = _here()
        for platform in USERLANDS:
            if platform.name in args.only.split(","):
                check(platform, here, report)
    except Trouble as trouble:
        print(f"test-arm: {trouble}", file=sys.stderr)
        return 1
    print(f"\n{report.table()}")
    if args.json:
        args.json.write_text(json.dumps(report.json(), indent=1) + "\n")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
