"""Wheels for boards: downloaded where PyPI has them, cross-compiled where it has none (pyo, and nverb itself).

Building pyo under qemu-user, or on a small board, takes the better part of an hour; cross-compiled it takes two minutes. As a
program: `python tests/board/wheels.py FOLDER bookworm-arm64 ...` puts all that this board needs into FOLDER.

A cross build is the target's own sysconfig (from its Debian packages) under this machine's setuptools; `wheel pack` gives the
result the target's tag.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import cache
import debian
from cache import REPOSITORY, Trouble
from debian import Platform

PYO = "pyo==1.1.0"
HEADERS = ["libpython3-dev", "libc6-dev", "libjack-jackd2-dev", "libsndfile1-dev"]
BUILD_TOOLS = ["setuptools>=77,<81", "wheel", "packaging"]


def sysroot(platform: Platform) -> Path:
    """Headers and libraries of this platform, for its cross compiler."""
    return cache.made(
        f"sysroot-{platform.name}",
        [HEADERS],
        lambda target: debian.bootstrap(platform, target, HEADERS, variant="extract"),
    )


def _tools() -> Path:
    def make(target: Path) -> None:
        cache.run([sys.executable, "-m", "venv", target], what="making a virtual environment")
        cache.run([target / "bin/pip", "install", "-q", *BUILD_TOOLS], what="installing build tools", tries=2)

    # A virtual environment knows its own path: made at its final place.
    path = cache.folder() / f"build-tools-{cache.digest(BUILD_TOOLS, sys.version)}"
    if not (path / "done").exists():
        cache.remove(path)
        make(path)
        (path / "done").touch()
    return path / "bin"


def _build(platform: Platform, source: Path, options: list[str], target: Path) -> Path:
    """A wheel for the platform from an unpacked source with a setup.py."""
    bin_folder = _tools()
    root = sysroot(platform)
    version = platform.python
    tag = "cp" + version.replace(".", "")
    data = next((root / f"usr/lib/python{version}").glob(f"_sysconfigdata_*{platform.triplet}.py"))
    with tempfile.TemporaryDirectory() as scratch:
        site, tree = Path(scratch, "site"), Path(scratch, "tree")
        site.mkdir()
        shutil.copy(data, site)
        gcc = f"{platform.triplet}-gcc --sysroot={root} -I{root}/usr/include/python{version}"
        environment = os.environ | {
            "_PYTHON_SYSCONFIGDATA_NAME": data.stem,
            "_PYTHON_HOST_PLATFORM": f"linux-{platform.machine}",
            "PYTHONPATH": os.fspath(site),
            "CC": gcc,
            "LDSHARED": f"{gcc} -shared",
        }
        setup: list[str | Path] = [bin_folder / "python", "setup.py", "-q", *options]
        cores = str(os.cpu_count() or 1)
        build = ["build", "--build-lib", tree, "--build-temp", Path(scratch, "temp"), "--parallel", cores]
        cache.run([*setup, *build], what=f"compiling {source.name} for {platform.name}", cwd=source, env=environment)
        cache.run([*setup, "dist_info", "--output-dir", tree], what=f"metadata of {source.name}", cwd=source)
        info = next(tree.glob("*.dist-info"))
        (info / "WHEEL").write_text(
            f"Wheel-Version: 1.0\nGenerator: nverb\nRoot-Is-Purelib: false\nTag: {tag}-{tag}-linux_{platform.machine}\n"
        )
        cache.run([bin_folder / "wheel", "pack", tree, "-d", target], what=f"packing {source.name}")
    return max(target.glob("*.whl"), key=lambda path: path.stat().st_mtime)


def pyo(platform: Platform) -> Path:
    """pyo with JACK and without PortAudio, PortMidi and OSC: what the pedal needs, and no more libraries than that."""

    def make(target: Path) -> None:
        if platform.arch == "amd64":
            _download(platform, [PYO], target)
            return
        fetch = [_tools() / "pip", "download", "-q", "--no-deps", "--no-binary=:all:", "-d", target, PYO]
        cache.run(fetch, what="downloading pyo", tries=2)
        archive = next(target.glob("*.tar.gz"))
        shutil.unpack_archive(archive, target)
        archive.unlink()
        source = next(path for path in target.iterdir() if path.is_dir())
        _build(platform, source, ["--minimal", "--use-jack"], target)
        shutil.rmtree(source)

    return next(cache.made(f"pyo-{platform.name}", [PYO, HEADERS, BUILD_TOOLS], make).glob("*.whl"))


def source_files() -> list[Path]:
    """The files of this checkout that git knows or would take, without tests: what a wheel is made from."""
    words = ["git", "-C", os.fspath(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split("\0")
    return [
        Path(name)
        for name in names
        if name and not name.startswith(("tests/", "docs/", ".ci/")) and (REPOSITORY / name).is_file()
    ]


def checkout(target: Path) -> None:
    """A copy of the checkout's source files."""
    for name in source_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, target / name)


@functools.cache
def source_digest() -> str:
    """Names the sources as they were when the run began."""
    return cache.digest(*(part for name in source_files() for part in (str(name), REPOSITORY / name)))


def nverb(platform: Platform) -> Path:
    """The wheel of this checkout."""

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch, "nverb")
            checkout(source)
            if platform.native:
                build = [_tools() / "pip", "wheel", "-q", "--no-deps", "-w", target, source]
                cache.run(build, what="building nverb's wheel", tries=2)
            else:
                _build(platform, source, [], target)

    return next(cache.made(f"nverb-{platform.name}", [source_digest()], make).glob("*.whl"))


def _download(platform: Platform, requirements: list[str], target: Path, *, optional: bool = False) -> bool:
    tags = [f"manylinux_2_{n}_{platform.machine}" for n in range(platform.glibc, 16, -1)]
    tags += [f"manylinux2014_{platform.machine}", f"linux_{platform.machine}"]
    words: list[str | Path] = [
        _tools() / "pip",
        "download",
        "-q",
        "--only-binary=:all:",
        "--python-version",
        platform.python,
    ]
    words += [word for tag in tags for word in ("--platform", tag)]
    words += ["--find-links", target, "-d", target, *requirements]
    try:
        cache.run(words, what=f"downloading {' '.join(requirements)} for {platform.name}", tries=1 if optional else 2)
    except Trouble:
        if not optional:
            raise
        return False
    return True


def requirements(wheel: Path, platform: Platform, extras: tuple[str, ...] = ()) -> list[str]:
    """What a wheel asks for on this platform (pip would evaluate the conditions for the machine that it runs on)."""
    from packaging.requirements import Requirement

    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        asked = message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    wanted = []
    for text in asked:
        requirement = Requirement(text)
        for extra in ("", *extras):
            environment = {
                "python_version": platform.python,
                "python_full_version": platform.python + ".2",
                "platform_machine": platform.machine,
                "sys_platform": "linux",
                "platform_system": "Linux",
                "os_name": "posix",
                "implementation_name": "cpython",
                "platform_python_implementation": "CPython",
                "extra": extra,
            }
            if requirement.marker is None or requirement.marker.evaluate(environment):
                requirement.marker = None
                wanted.append(str(requirement))
                break
    return wanted


FROM_DEBIAN = {"armhf": {"numpy", "soxr", "lgpio", "cffi"}, "arm64": set(), "amd64": set()}
"""Without a wheel on PyPI for this architecture: Debian's python3-NAME, where it has one (pip takes it from the system)."""


def house(platform: Platform) -> Path:
    """A folder with every wheel that `pip install --no-index nverb` needs on this platform."""
    ours, sound = nverb(platform), pyo(platform)
    asked = sorted({*(r for r in requirements(ours, platform) if not r.startswith("pyo")), "lgpio"})

    def make(target: Path) -> None:
        if platform.arch != "armhf":
            _download(platform, asked, target)
            return
        for requirement in asked:
            if not _download(platform, [requirement], target, optional=True):
                cache.say(f"{platform.name}: no wheel of {requirement}; Debian's package, or none, on this board")

    others = cache.made(f"house-{platform.name}", [asked], make)
    for path in others.glob("nverb*.whl"):
        path.unlink()
    for wheel in (ours, sound):
        shutil.copy(wheel, others)
    return others


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(
            "usage: wheels.py FOLDER RELEASE-ARCHITECTURE...   such as: wheels.py dist bookworm-arm64 trixie-arm64"
        )
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    try:
        for name in sys.argv[2:]:
            suite, _, arch = name.partition("-")
            for wheel in house(Platform(arch, suite)).glob("*.whl"):
                shutil.copy(wheel, target)
    except Trouble as trouble:
        raise SystemExit(f"wheels: {trouble}") from None


if __name__ == "__main__":
    main()
