"""Wheels for boards: from PyPI, or cross-compiled where PyPI has none (pyo, lgpio, soxr; nverb).

Building pyo under qemu-user or on a small board takes almost an hour, cross-compiling two minutes.
`python tests/board/wheels.py FOLDER bookworm-arm64 ...` puts all wheels of a board into FOLDER.

A cross build uses this machine's setuptools with the target's sysconfig (from its Debian packages);
`wheel pack` sets the target's tag.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import cache
import debian
from cache import REPOSITORY, Trouble
from debian import Platform

HEADERS = ["libpython3-dev", "libc6-dev", "libjack-jackd2-dev", "libsndfile1-dev"]
BUILD_TOOLS = ["setuptools>=77,<81", "wheel", "packaging"]


@dataclass(frozen=True)
class Source:
    """A package without a wheel on PyPI for some boards, and how to cross-compile it."""

    requirement: str
    options: tuple[str, ...] = ()
    """Options of its setup.py."""
    environment: tuple[tuple[str, str], ...] = ()
    tools: tuple[str, ...] = ()
    """Python packages that the build needs on this machine."""

    @property
    def name(self) -> str:
        return self.requirement.partition("==")[0]


# With JACK, without PortAudio, PortMidi and OSC, which the pedal does not need.
PYO = Source("pyo==1.1.0", options=("--minimal", "--use-jack"))
SOURCES = {
    source.name: source
    for source in (
        PYO,
        # PYPI=1: include the C library. Newer SWIG lacks a function that its wrapper calls.
        Source("lgpio==0.2.2.0", environment=(("PYPI", "1"),), tools=("swig>=4,<4.3",)),
        # The last version that uses setuptools: CMake, in later ones, builds for this machine.
        Source(
            "soxr==0.3.7",
            environment=(("SETUPTOOLS_SCM_PRETEND_VERSION", "0.3.7"),),
            tools=("Cython>=3,<3.1", "setuptools_scm<9", "numpy<2"),
        ),
    )
}
FROM_DEBIAN = {
    "bookworm-armhf": {"numpy": "1.24.2", "cffi": "1.15.1"},
    "trixie-armhf": {"numpy": "2.2.4", "cffi": "1.17.1", "soxr": "0.5.0"},
}
"""Large packages without a wheel for 32-bit ARM: `make install` uses Debian's python3-NAME."""


def from_debian(platform: Platform) -> dict[str, str]:
    return FROM_DEBIAN.get(platform.name, {})


def sysroot(platform: Platform) -> Path:
    """Headers and libraries of this platform, for its cross compiler."""
    # Where Debian has no soxr, it is compiled with NumPy's headers.
    numpy = {"numpy", "soxr"} & from_debian(platform).keys() == {"numpy"}
    packages = HEADERS + (["python3-numpy"] if numpy else [])
    return cache.made(
        f"sysroot-{platform.name}",
        [packages],
        lambda target: debian.bootstrap(platform, target, packages, variant="extract"),
    )


def _tools(more: tuple[str, ...] = ()) -> Path:
    packages = [*BUILD_TOOLS, *more]

    def make(target: Path) -> None:
        cache.run([sys.executable, "-m", "venv", target], what="making a virtual environment")
        cache.run(
            [target / "bin/pip", "install", "-q", *packages], what="installing build tools", tries=2
        )

    # A virtual environment contains its own path, so it is made at its final place.
    path = cache.folder() / f"build-tools-{cache.digest(packages, sys.version)}"
    if not (path / "done").exists():
        cache.remove(path)
        make(path)
        (path / "done").touch()
    return path / "bin"


def _build(platform: Platform, folder: Path, target: Path, how: Source) -> Path:
    """Build a wheel for the platform from an unpacked source with a setup.py."""
    bin_folder = _tools(how.tools)
    root = sysroot(platform)
    version = platform.python
    tag = "cp" + version.replace(".", "")
    data = next((root / f"usr/lib/python{version}").glob(f"_sysconfigdata_*{platform.triplet}.py"))
    with tempfile.TemporaryDirectory() as scratch:
        site, tree = Path(scratch, "site"), Path(scratch, "tree")
        site.mkdir()
        shutil.copy(data, site)
        numpy = root / "usr/lib/python3/dist-packages/numpy/core/include"
        includes = f"-I{root}/usr/include/python{version} -I{numpy}"
        gcc = f"{platform.triplet}-gcc --sysroot={root} {includes}"
        own = os.environ | dict(how.environment) | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
        cross = own | {
            "_PYTHON_SYSCONFIGDATA_NAME": data.stem,
            "_PYTHON_HOST_PLATFORM": f"linux-{platform.machine}",
            "PYTHONPATH": os.fspath(site),
            "CC": gcc,
            "LDSHARED": f"{gcc} -shared",
        }
        setup: list[str | Path] = [bin_folder / "python", "setup.py", "-q", *how.options]
        cores = str(os.cpu_count() or 1)
        build = [
            "build",
            "--build-lib",
            tree,
            "--build-temp",
            Path(scratch, "temp"),
            "--parallel",
            cores,
        ]
        cache.run(
            [*setup, *build],
            what=f"compiling {folder.name} for {platform.name}",
            cwd=folder,
            env=cross,
        )
        # setup.py asks the compiler for its target.
        environment = own | {"CC": gcc}
        cache.run(
            [*setup, "dist_info", "--output-dir", tree],
            what=f"metadata of {folder.name}",
            cwd=folder,
            env=environment,
        )
        info = next(tree.glob("*.dist-info"))
        (info / "WHEEL").write_text(
            "Wheel-Version: 1.0\nGenerator: nverb\nRoot-Is-Purelib: false\n"
            f"Tag: {tag}-{tag}-linux_{platform.machine}\n"
        )
        cache.run([bin_folder / "wheel", "pack", tree, "-d", target], what=f"packing {folder.name}")
    return max(target.glob("*.whl"), key=lambda path: path.stat().st_mtime)


def crossed(platform: Platform, source: Source) -> Path:
    """The wheel of a package, built from its source on PyPI."""

    def make(target: Path) -> None:
        if platform.arch == "amd64" and _download(
            platform, [source.requirement], target, optional=True
        ):
            return
        pip = [_tools(source.tools) / "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
        fetch = [*pip, f"--no-binary={source.name}", "-d", target, source.requirement]
        cache.run(
            fetch,
            what=f"downloading {source.name}",
            tries=2,
            env=os.environ | dict(source.environment),
        )
        archive = next(target.glob("*.tar.gz"))
        shutil.unpack_archive(archive, target)
        archive.unlink()
        folder = next(path for path in target.iterdir() if path.is_dir())
        _build(platform, folder, target, source)
        shutil.rmtree(folder)

    parts = [source, sysroot(platform).name if platform.arch != "amd64" else "", BUILD_TOOLS]
    return next(cache.made(f"{source.name}-{platform.name}", parts, make).glob("*.whl"))


def source_files() -> list[Path]:
    """The files of this checkout from which a wheel is built, also those not yet in git."""
    words = [
        "git",
        "-C",
        os.fspath(REPOSITORY),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    names = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split("\0")
    return [
        Path(name)
        for name in names
        if name
        and not name.startswith(("tests/", "docs/", ".ci/"))
        and (REPOSITORY / name).is_file()
    ]


def checkout(target: Path) -> None:
    """A copy of the checkout's source files."""
    for name in source_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, target / name)


@functools.cache
def source_digest() -> str:
    """A digest of the source files at the start of the run."""
    return cache.digest(
        *(part for name in source_files() for part in (str(name), REPOSITORY / name))
    )


def nverb(platform: Platform) -> Path:
    """The wheel of this checkout."""

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch, "nverb")
            checkout(source)
            if (
                platform.native
                and platform.python == f"{sys.version_info[0]}.{sys.version_info[1]}"
            ):
                build = [_tools() / "pip", "wheel", "-q", "--no-deps", "-w", target, source]
                cache.run(build, what="building nverb's wheel", tries=2)
            else:
                _build(platform, source, target, Source("nverb"))

    return next(cache.made(f"nverb-{platform.name}", [source_digest()], make).glob("*.whl"))


def _download(
    platform: Platform, requirements: list[str], target: Path, *, optional: bool = False
) -> bool:
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
        cache.run(
            words,
            what=f"downloading {' '.join(requirements)} for {platform.name}",
            tries=1 if optional else 2,
        )
    except Trouble:
        if not optional:
            raise
        return False
    return True


def requirements(wheel: Path, platform: Platform, extras: tuple[str, ...] = ()) -> list[str]:
    """The requirements of a wheel on this platform; pip would evaluate them for this machine."""
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


def _stub(name: str, version: str, target: Path) -> Path:
    """An empty wheel, so that pip does not look for this package."""
    path, info = target / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def house(platform: Platform) -> Path:
    """A folder with all wheels that `pip install --no-index nverb` needs, without FROM_DEBIAN."""
    ours, sound = nverb(platform), crossed(platform, PYO)
    asked = sorted(
        {*(r for r in requirements(ours, platform) if not r.startswith("pyo")), "lgpio>=0.2.2"}
    )
    debians = from_debian(platform)

    def make(target: Path) -> None:
        stubs = [_stub(name, version, target) for name, version in debians.items()]
        for source in SOURCES.values():
            wanted = [text for text in asked if text.startswith(source.name)]
            if (
                wanted
                and source.name not in debians
                and not _download(platform, wanted, target, optional=True)
            ):
                shutil.copy(crossed(platform, source), target)
        _download(platform, asked, target)
        for stub in stubs:
            stub.unlink()

    # The name of a cross-compiled wheel does not show how it was built, so SOURCES is an input.
    others = cache.made(f"house-{platform.name}", [asked, debians, SOURCES], make)
    with cache.alone(f"house-{platform.name}"):  # two scenarios may start at once
        for path in others.glob("nverb*.whl"):
            path.unlink()
        for wheel in (ours, sound):
            shutil.copy(wheel, others)
    return others


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(
            "usage: wheels.py FOLDER RELEASE-ARCHITECTURE..., "
            "such as: wheels.py dist bookworm-arm64 trixie-arm64"
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
