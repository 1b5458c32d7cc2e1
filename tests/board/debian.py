"""Debian for the emulated boards: root folders, kernels, tools for userlands of ARM.

| thing      | made by                                    | needs qemu-user |
|------------|--------------------------------------------|-----------------|
| root       | mmdebstrap, packages configured            | for ARM         |
| sysroot    | mmdebstrap, packages unpacked only         | no              |
| kernel     | linux-image and headers, unpacked; our     | no              |
|            | simulated parts (OWN_MODULES) built for it |                 |
"""

from __future__ import annotations

import functools
import lzma
import os
import re
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cache
from cache import HERE, Trouble

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Platform:
    """An architecture and a Debian release, by the names that pip, gcc and qemu use."""

    arch: str
    suite: str

    @property
    def name(self) -> str:
        return f"{self.suite}-{self.arch}"

    @property
    def machine(self) -> str:
        return {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l"}[self.arch]

    @property
    def triplet(self) -> str:
        return {
            "amd64": "x86_64-linux-gnu",
            "arm64": "aarch64-linux-gnu",
            "armhf": "arm-linux-gnueabihf",
        }[self.arch]

    @property
    def python(self) -> str:
        return {"bookworm": "3.11", "trixie": "3.13"}[self.suite]

    @property
    def glibc(self) -> int:
        return {"bookworm": 36, "trixie": 41}[self.suite]

    @property
    def packages(self) -> list[str]:
        """Packages that `make install` needs only here, without the large ones (see wheels.py)."""
        return [] if self.suite == "bookworm" else ["jack-example-tools"]

    @property
    def native(self) -> bool:
        return self.machine == os.uname().machine


@functools.cache
def mirrors() -> tuple[str, str]:
    """Mirrors of Debian and of its security updates.

    From $NVERB_DEBIAN_MIRROR and $NVERB_DEBIAN_SECURITY_MIRROR, else those of this machine's APT.
    """
    words = [
        "apt-get",
        "indextargets",
        "--format",
        "$(LABEL)|$(REPO_URI)",
        "Created-By: Packages",
        "Origin: Debian",
    ]
    known = dict(
        line.split("|")
        for line in reversed(cache.run(words, what="apt-get indextargets").splitlines())
    )
    found = (
        os.environ.get("NVERB_DEBIAN_MIRROR") or known.get("Debian"),
        os.environ.get("NVERB_DEBIAN_SECURITY_MIRROR") or known.get("Debian-Security"),
    )
    if not (found[0] and found[1]):
        raise Trouble(
            "this machine's APT knows no mirror of Debian: run `apt-get update`, or set "
            "NVERB_DEBIAN_MIRROR and NVERB_DEBIAN_SECURITY_MIRROR"
        )
    return found[0], found[1]


def sources(suite: str, where: Path, *, updates: bool = True) -> Path:
    """An APT source list for this release, written to `where`."""
    suites = f"{suite} {suite}-updates" if updates else suite
    mirror, security = mirrors()
    text = f"Types: deb\nURIs: {mirror}\nSuites: {suites}\nComponents: main\nSigned-By: {KEYRING}\n"
    if updates:
        text += f"\nTypes: deb\nURIs: {security}\nSuites: {suite}-security\n"
        text += f"Components: main\nSigned-By: {KEYRING}\n"
    where.write_text(text)
    return where


def bootstrap(
    platform: Platform, target: Path, packages: list[str], *, variant: str = "minbase"
) -> None:
    """Install Debian with these packages into the empty folder `target`.

    Variant "extract" only unpacks them.
    """
    # A root that is only unpacked needs no updates, and on armhf the mirrors of updates lag behind.
    listing = sources(
        platform.suite, target.with_name(target.name + ".sources"), updates=variant != "extract"
    )
    command: list[str | Path] = [
        "mmdebstrap",
        "--mode=root",
        "--quiet",
        f"--variant={variant}",
        f"--arch={platform.arch}",
    ]
    command += ["--skip=output/dev", "--skip=check/qemu", f"--include={','.join(packages)}"]
    command += [platform.suite, target, listing]
    if variant != "extract":
        command = emulated(platform, command)
    command = [
        "sh",
        "-euc",
        'rm -rf --one-file-system "$0"; exec "$@"',
        target,
        *command,
    ]  # remove the rest of a failed try
    cache.run(command, what=f"mmdebstrap {platform.name}", tries=3)
    listing.unlink()


@contextmanager
def layered(*lower: Path, upper: Path) -> Iterator[Path]:
    """An overlay of `lower` (the first one on top); changes go to `upper`."""
    with tempfile.TemporaryDirectory(dir=cache.folder()) as scratch:
        work, merged = Path(scratch, "work"), Path(scratch, "merged")
        work.mkdir()
        merged.mkdir()
        layers = ":".join(os.fspath(path) for path in lower)
        options = f"lowerdir={layers},upperdir={upper},workdir={work}"
        cache.run(
            ["mount", "-t", "overlay", "-o", options, "overlay", merged], what="mounting an overlay"
        )
        try:
            yield merged
        finally:
            cache.run(["umount", merged], what="unmounting an overlay")


def emulated(platform: Platform, command: list[str | Path]) -> list[str | Path]:
    """The command line that runs `command` where programs of this platform can start."""
    if platform.native:
        return command
    # arm64: qemu's default processor emulates pointer authentication, which makes some programs 14
    # times slower. armhf: the slowest of the boards, a BeagleBone.
    processor = {"arm64": "cortex-a72", "armhf": "cortex-a8"}[platform.arch]
    return ["env", f"QEMU_CPU={processor}", sys.executable, HERE / "armns.py", *command]


ARM_PROCESSOR = (
    "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
    "CPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
)
"""/proc/cpuinfo of a Raspberry Pi 4. LiteRT 2.1 to 2.3 dies of SIGSEGV if it lists no processor."""


def chroot(
    platform: Platform,
    root: Path,
    script: str,
    *,
    what: str,
    environment: dict[str, str] | None = None,
) -> str:
    """Run a shell script in a root folder, with /proc, /dev and /sys mounted."""
    mounts = (
        'R=$1; for d in proc dev sys; do mkdir -p "$R/$d"; mount --rbind /$d "$R/$d"; done; '
        'mount -t tmpfs tmpfs "$R/tmp"; if [ "$3" ]; then printf %s "$3" > "$R/tmp/.cpuinfo"; '
        'mount --bind "$R/tmp/.cpuinfo" "$R/proc/cpuinfo"; fi; '
        'cd /; exec chroot "$R" /bin/sh -euc "$2"'
    )
    command: list[str | Path] = ["unshare", "--mount", "sh", "-euc", mounts, "sh", root, script]
    command.append(ARM_PROCESSOR if platform.arch == "arm64" and not platform.native else "")
    clean = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
    }
    outer = {"PATH": os.environ["PATH"]} if not platform.native else {}
    return cache.run(
        emulated(platform, command),
        what=what,
        env=clean | {"DEBIAN_FRONTEND": "noninteractive"} | outer | (environment or {}),
    )


def download(platform: Platform, target: Path, packages: list[str]) -> list[Path]:
    """Download .deb files of this platform to `target`, with an APT configuration of its own.

    `NAME:PREFIX` means: the package that NAME depends on and that begins with PREFIX.
    """
    state = target / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    listing = sources(platform.suite, state / "debian.sources")
    options = {
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": listing,
        "Dir::Etc::sourceparts": "-",
        "APT::Architecture": platform.arch,
        "APT::Architectures": platform.arch,
        "APT::Sandbox::User": "root",
    }
    apt = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    cache.run(["apt-get", "-qq", *apt, "update"], what="apt-get update", tries=3)
    names = []
    for package in packages:
        name, _, pattern = package.partition(":")
        if pattern:
            depends = cache.run(
                ["apt-cache", *apt, "depends", name], what=f"apt-cache depends {name}"
            )
            found = re.search(rf"Depends: ({re.escape(pattern)}\S*)", depends)
            if found is None:
                raise Trouble(f"{name} of {platform.name} depends on no {pattern}*")
            name = found[1]
        names.append(name)
    cache.run(
        ["apt-get", "-qq", *apt, "download", *names],
        what=f"apt-get download {names}",
        tries=3,
        cwd=target,
    )
    shutil.rmtree(state)
    return sorted(target.glob("*.deb"))


def _unpack(debs: list[Path], target: Path) -> None:
    for deb in debs:
        cache.run(["dpkg-deb", "-x", deb, target], what=f"unpacking {deb.name}")
        deb.unlink()


MODULES = (
    # disk, console, network
    "virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "virtio_console",
    "ext4", "crc32c_generic", "overlay", "vfat", "nls_ascii", "nls_cp437",
    # compressed memory
    "zram", "lzo-rle",
    # sound and board
    "snd-aloop", "snd-seq", "snd-seq-dummy", "snd-virmidi",
    "spidev", "mcp320x", "i2c-dev", "i2c-stub",
)  # fmt: skip

OWN_MODULES = (HERE / "pedal_sim.c", HERE / "pedal_card.c")
"""Our simulated parts."""


@dataclass(frozen=True)
class Kernel:
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "kernel"

    @property
    def version(self) -> str:
        return (self.folder / "version").read_text()

    @property
    def modules(self) -> Path:
        """A folder with lib/modules: only the modules that the emulated boards need."""
        return self.folder / "root"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"


def kernel(platform: Platform) -> Kernel:
    """Debian's kernel with the modules that we need, our simulated parts and a small initrd.

    Always the kernel of bookworm: the build tools of trixie's kernel do not run on Debian 12.
    """
    platform = Platform(platform.arch, "bookworm")

    def make(target: Path) -> None:
        image = f"linux-image-{platform.arch}"
        debs = download(platform, target, [f"{image}:linux-image-", "busybox-static"])
        version = (
            next(d.name for d in debs if d.name.startswith("linux-image"))
            .split("_")[0]
            .removeprefix("linux-image-")
        )
        debs += download(
            platform,
            target,
            [f"linux-headers-{version}", f"linux-headers-{version.rpartition('-')[0]}-common"],
        )
        # The build tools of the headers must run on this machine.
        kbuild = download(
            Platform(own_arch(), platform.suite),
            target,
            ["linux-kbuild-" + ".".join(version.split(".")[:2])],
        )
        _unpack(sorted({*debs, *kbuild}), target / "all")
        everything = target / "all"
        (target / "version").write_text(version)
        (target / "kernel").write_bytes(
            _unpacked((everything / f"boot/vmlinuz-{version}").read_bytes())
        )
        own = _build_modules(platform, everything, version, target)
        _choose_modules(everything, version, target / "root", own)
        _initrd(platform, target / "root", version, everything / "bin/busybox", target / "initrd")
        shutil.rmtree(everything)

    return Kernel(
        cache.made(f"kernel-{platform.name}", [MODULES, _INIT, *OWN_MODULES, HERE / "spin.c"], make)
    )


def _unpacked(image: bytes) -> bytes:
    """The ELF file in an x86 kernel image (Documentation/x86/boot.rst); other images unchanged.

    Unpacking it in the emulator would take 15 s.
    """
    if image[0x202:0x206] != b"HdrS":
        return image
    offset, length = struct.unpack_from("<II", image, 0x248)
    begin = (image[0x1F1] + 1) * 512 + offset
    return lzma.LZMADecompressor().decompress(image[begin : begin + length])


def own_arch() -> str:
    """Debian's name of this machine's architecture."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def _build_modules(platform: Platform, everything: Path, version: str, target: Path) -> list[Path]:
    """OWN_MODULES, built for this kernel."""
    build = target / "own_modules"
    build.mkdir()
    for source in OWN_MODULES:
        shutil.copy(source, build)
    (build / "Kbuild").write_text(f"obj-m := {' '.join(f'{m.stem}.o' for m in OWN_MODULES)}\n")
    # Debian's header packages refer to each other by absolute paths.
    headers = everything / f"usr/src/linux-headers-{version}"
    common = everything / f"usr/src/linux-headers-{version.rpartition('-')[0]}-common"
    series = ".".join(version.split(".")[:2])
    for name in ("scripts", "tools"):
        for side in (headers, common):
            link = side / name
            if link.is_symlink():
                link.unlink()
                link.symlink_to(everything / f"usr/lib/linux-kbuild-{series}" / name)
    makefile = headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{everything}/usr/src/"))
    arch = {"amd64": "x86", "arm64": "arm64"}[platform.arch]
    words = ["make", "-s", "-C", headers, f"M={build}", f"ARCH={arch}", "modules"]
    if not platform.native:
        words.append(f"CROSS_COMPILE={platform.triplet}-")
    cache.run(
        [*words, f"CC={'' if platform.native else platform.triplet + '-'}gcc"],
        what="building the simulated parts",
    )
    return [build / f"{source.stem}.ko" for source in OWN_MODULES]


def _choose_modules(everything: Path, version: str, root: Path, own: list[Path]) -> None:
    """Copy MODULES and their dependencies from the kernel package to `root`, and our `own`."""
    source, target = everything / "lib/modules" / version, root / "lib/modules" / version
    cache.run(["depmod", "-b", everything, version], what="depmod")
    needs = {}
    for line in (source / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[Path(path).name.split(".")[0].replace("-", "_")] = [path, *others.split()]
    for name in MODULES:
        # A module that is absent is built in, or does not exist on this architecture.
        for path in needs.get(name.replace("-", "_"), ()):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / path, target / path)
    for path in own:
        shutil.copy(path, target)
    for table in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy(source / table, target)
    cache.run(["depmod", "-b", root, version], what="depmod")


_INIT = """#!/bin/busybox sh
# Kernel command line: ro or rw: how to mount the root; overlay: a file system in memory over it.
b=/bin/busybox
$b mkdir -p /proc /sys /dev /low /new /over
$b mount -t proc proc /proc; $b mount -t sysfs sysfs /sys; $b mount -t devtmpfs dev /dev
for m in $($b cat /load); do $b insmod /$m 2>/dev/null; done
# systemd does not kill a process whose name begins with @ (systemd.io/ROOT_STORAGE_DAEMONS).
(exec -a @spin /spin) &
words=" $($b cat /proc/cmdline) "
root=/dev/vda; mode=rw; over=
for w in $words; do case $w in root=*) root=${w#root=};; ro) mode=ro;; overlay) over=1;; esac; done
n=0; while [ ! -b $root ] && [ $n -lt 100 ]; do $b sleep 0.05; n=$((n+1)); done
$b mount -t ext4 -o $mode $root /low || exec $b sh
if [ $over ]; then
  $b mount -t tmpfs tmpfs /over; $b mkdir /over/up /over/work
  layers=lowerdir=/low,upperdir=/over/up,workdir=/over/work
  $b mount -t overlay -o $layers overlay /new || exec $b sh
else
  $b mount --move /low /new
fi
$b mount --move /dev /new/dev; $b umount /proc; $b umount /sys
exec $b switch_root /new /sbin/init
"""


def _initrd(platform: Platform, root: Path, version: str, busybox: Path, target: Path) -> None:
    tree = target.with_name("initrd.tree")
    (tree / "bin").mkdir(parents=True)
    shutil.copy(busybox, tree / "bin/busybox")
    gcc = "gcc" if platform.native else f"{platform.triplet}-gcc"
    cache.run(
        [gcc, "-O1", "-static", "-o", tree / "spin", HERE / "spin.c"], what="compiling spin.c"
    )
    (tree / "init").write_text(_INIT)
    (tree / "init").chmod(0o755)
    modules = root / "lib/modules" / version
    order: list[str] = []
    table = dict(line.split(":", 1) for line in (modules / "modules.dep").read_text().splitlines())
    for name in ("virtio_pci", "virtio_mmio", "virtio_blk", "crc32c_generic", "ext4", "overlay"):
        for path, others in table.items():
            if Path(path).name.split(".")[0] == name:
                order += [p for p in [*reversed(others.split()), path] if p not in order]
    for path in order:
        shutil.copy(modules / path, tree)
    (tree / "load").write_text("\n".join(Path(path).name for path in order) + "\n")
    pack = 'cd "$1" && find . | cpio --quiet -o -H newc | gzip -1 > "$2"'
    cache.run(["sh", "-euc", pack, "sh", tree, target], what="packing the initrd")
    shutil.rmtree(tree)
