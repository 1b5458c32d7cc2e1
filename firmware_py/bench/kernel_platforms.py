"""`nverb bench kernel`: the platforms, their compilers, and the zita-convolver packages for ARM."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsp.errors import UserError
from dsp.simd_builds import Family
from firmware_py.bench.kernel_figures import say

ZITA_PACKAGES = ("libzita-convolver4", "libzita-convolver-dev", "libfftw3-single3")


@dataclass(frozen=True)
class Platform:
    name: str
    prefix: str
    """Prefix of the compiler's name."""
    tools: tuple[tuple[str, str], ...]
    """(program, Debian package)"""
    family: Family
    bar: float
    """The highest allowed ratio of our instruction count to zita-convolver's."""
    debian: str = ""
    """Debian's name of the architecture; empty for this machine's."""
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


def run(
    command: Sequence[str | Path],
    what: str,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command. Raises UserError with the last line of its output if it fails."""
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, check=False, cwd=cwd, env=env
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(
            f"{what} failed: {lines[-1] if lines else f'exit status {done.returncode}'}"
        )
    return done


def missing(platform: Platform, *more: tuple[str, str]) -> str:
    """The command that installs the missing tools; empty if none is missing."""
    packages = sorted(
        {package for tool, package in (*platform.tools, *more) if shutil.which(tool) is None}
    )
    return f"sudo apt-get install {' '.join(packages)}" if packages else ""


def debian_root(architecture: str) -> Path | str:
    """Unpack zita-convolver's packages for another architecture into the user's cache.

    Returns the folder, or what is needed for the download. apt's own state is not changed.
    """
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
    say(f"downloading zita-convolver for {architecture}")
    try:
        subprocess.run(["apt-get", *options, "update"], capture_output=True, check=False)
        run(["apt-get", *options, "download", *ZITA_PACKAGES], "apt-get", cwd=cache)
        for package in cache.glob("*.deb"):
            run(["dpkg", "-x", package, root], "dpkg")
    except (UserError, OSError):
        return f"a network connection and a Debian archive with {ZITA_PACKAGES[0]}:{architecture}"
    (root / "done").touch()
    return root
