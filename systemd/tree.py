"""Makes a complete system with the pedal in a folder, for systemd/image.py. Run by `nverb image`.

    source: folder, .tar, .img, .img.xz -> copy -> packages, wheels, `nverb service install`
                                        -> name, key, settings -> read-only and bootable

Needs root. Programs of the system run in the copy by chroot in their own mount namespace, so no
mount is left behind. The tmpfs over the read-only system is Debian's `overlayroot`, which
Raspberry Pi OS's raspi-config also uses.

| boots with                      | found by                  | where its files go                 |
|---------------------------------|---------------------------|------------------------------------|
| Raspberry Pi firmware           | files in /boot/firmware   | unchanged; cmdline.txt names the   |
|                                 |                           | new root                           |
| UEFI (PC, virtual machine, SBC) | a kernel in /boot         | systemd-boot, kernel and initrd on |
|                                 |                           | the FAT partition                  |
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dsp.errors import UserError
from systemd.chroot import Chroot, tool
from systemd.image import (
    BOOT,
    BOOT_FSTAB,
    ESP,
    FAT,
    MIB,
    STATE,
    Layout,
    fstab,
    partition,
    require,
    write_disk,
)
from systemd.install import HOME
from systemd.partitions import unpack_image

Say = Callable[[str], None]
CheckSettings = Callable[[Sequence[str]], object]
"""Raises UserError for settings (NAME=VALUE) that `nverb settings set` would reject."""

PACKAGES = ("jackd2", "libsndfile1", "alsa-utils", "python3-venv", "overlayroot", "busybox")
"""Packages of the pedal, and of a read-only system. busybox: overlayroot's script in the initrd
needs its grep but does not depend on it.
"""
EFI_PACKAGE = "systemd-boot-efi"
MASKED = (
    # These write to the system. With a tmpfs over it they would fill the memory.
    "apt-daily.timer", "apt-daily-upgrade.timer", "man-db.timer", "dpkg-db-backup.timer",
    "e2scrub_all.timer", "fstrim.timer", "dphys-swapfile.service", "systemd-random-seed.service",
    # Raspberry Pi OS's first boot grows the system over the pedal's partition and asks for a user
    # on the screen.
    "rpi-resize.service", "resize2fs_once.service", "regenerate_ssh_host_keys.service",
    "userconfig.service", "sshswitch.service",
)  # fmt: skip
FILES = {
    "etc/overlayroot.local.conf": 'overlayroot="tmpfs:recurse=0"\noverlayroot_cfgdisk="disabled"\n',
    "etc/systemd/journald.conf.d/nverb.conf": (
        "# The log is in memory, up to 16 MB.\n[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n"
    ),
    # Raspberry Pi OS trixie: no swap file behind its compressed memory
    "etc/rpi/swap.conf.d/nverb.conf": "[Main]\nMechanism=zram\n",
}
WIRED = "[Match]\nType=ether\n[Network]\nDHCP=yes\nMulticastDNS=yes\n"
_EFI = {"BOOTX64.EFI": "systemd-bootx64.efi", "BOOTAA64.EFI": "systemd-bootaa64.efi"}


@dataclass(frozen=True)
class Order:
    """What goes into the image.

    `settings`: NAME=VALUE as for `nverb settings set`; `key`: the text of an ssh public key.
    """

    source: Path
    wheels: Path
    settings: tuple[str, ...] = ()
    hostname: str = "pedal"
    user: str = "pedal"
    key: str = ""
    added: Path | None = None
    data_mib: int = 256
    spare_mib: int = 512
    verbose: bool = False
    say: Say = field(default=print, compare=False)


def make(order: Order, image: Path, check_settings: CheckSettings) -> Layout:
    """Make the disk image; `image` appears when it is complete.

    Raises UserError, OSError; nothing is changed then.
    """
    if os.geteuid() != 0:
        raise UserError("the files of a system belong to many users: use sudo")
    require("mke2fs", "sfdisk", "mformat", "mcopy", "unshare", "chroot", "xz")
    check(order, check_settings)
    if not image.parent.is_dir():
        raise UserError(f"{image.parent}: no such folder")
    scratch = image.with_name(f".{image.name}.tree")
    _remove(scratch)
    scratch.mkdir(parents=True)
    try:
        system = System(scratch / "system", order)
        steps: list[tuple[str, Callable[[], None]]] = [
            (f"unpacking {order.source}", system.unpack),
            ("packages", system.install_packages),
            ("the pedal", system.install_pedal),
            (f"name, user and settings of {order.hostname}", system.settle),
            ("read-only system, ready to boot", system.make_bootable),
        ]
        for number, (what, step) in enumerate(steps, 1):
            begun = time.monotonic()
            order.say(f"[{number}/{len(steps) + 1}] {what}")
            step()
            if order.verbose:
                order.say(f"      {time.monotonic() - begun:.0f} s")
        order.say(f"[{len(steps) + 1}/{len(steps) + 1}] writing {image}")
        return write_disk(
            system.root,
            image,
            boot_mib=system.boot_mib(),
            data_mib=order.data_mib,
            slack_mib=order.spare_mib,
            disk_id=system.disk_id,
            boot_type=system.boot_type,
        )
    finally:
        _remove(scratch)


def check(order: Order, check_settings: CheckSettings) -> None:
    """Check the order before the work begins. Raises UserError."""
    if not order.source.exists():
        raise UserError(f"{order.source}: no such folder or file")
    if not order.wheels.is_dir() or len(list(order.wheels.glob("nverb-*.whl"))) != 1:
        raise UserError(
            f"{order.wheels}: must be a folder with one nverb-*.whl and its dependencies: "
            "make board-wheels"
        )
    if order.added is not None and not order.added.is_dir():
        raise UserError(f"{order.added}: no such folder")
    for what, name, pattern in (
        ("host name", order.hostname, r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"),
        ("user", order.user, r"[a-z_][a-z0-9_-]{0,31}"),
    ):
        if not re.fullmatch(pattern, name):
            raise UserError(f"{name!r} is not a {what}: use lower-case letters, digits and -")
    if order.user in ("root", "nverb"):
        raise UserError(f"user {order.user}: this user exists already; choose another name")
    if order.key and not re.match(r"(ssh|ecdsa|sk)-\S+ [A-Za-z0-9+/=]+", order.key):
        raise UserError("not an ssh public key: give the file that ends in .pub")
    check_settings(order.settings)
    if not 16 <= order.data_mib <= 65536 or not 0 <= order.spare_mib <= 65536:
        raise UserError("data partition: 16 to 65536 MiB; spare: 0 to 65536 MiB")


class System(Chroot):
    """The folder of the system, and the steps that make a pedal of it, in their order."""

    def __init__(self, root: Path, order: Order) -> None:
        super().__init__(root, order.wheels, order.verbose)
        self._order = order
        self.disk_id = secrets.randbits(32) | 1
        self.boot_type = FAT

    @property
    def root_name(self) -> str:
        return partition(self.disk_id, 2)

    def unpack(self) -> None:
        source = self._order.source
        self.root.mkdir()
        if source.is_dir():
            tool("cp", "-a", "--reflink=auto", f"{source}/.", self.root, what=f"copying {source}")
        elif re.search(r"\.tar(\.\w+)?$", source.name):
            tool("tar", "-xpf", source, "--numeric-owner", "--xattrs", "--xattrs-include=*",
                 "-C", self.root, what=f"unpacking {source}")  # fmt: skip
        elif source.name.endswith((".img", ".img.xz")):
            unpack_image(source, self.root)
        else:
            raise UserError(
                f"{source}: must be a folder, .tar, .img or .img.xz with a complete system"
            )
        if (
            not (self.root / "etc/debian_version").is_file()
            or not (self.root / "usr/bin/systemctl").exists()
        ):
            raise UserError(f"{source}: contains no Debian or Raspberry Pi OS with systemd")
        self.run("true", what="running the system's programs here")

    def install_packages(self) -> None:
        wanted = list(PACKAGES)
        if self._order.key:
            wanted.append("openssh-server")
        if not self._has_firmware():
            wanted.append(EFI_PACKAGE)
        wanted += self._instead_of_wheels()
        installed = "dpkg-query -W -f '${Status}' $p 2>/dev/null | grep -q 'ok installed'"
        script = f"for p in {' '.join(wanted)}; do {installed} || echo $p; done"
        missing = self.run(script, what="looking for packages").split()
        if missing:
            self._apt(missing)
        if not (self.root / "usr/bin/jack_lsp").exists():
            self._apt(["jack-example-tools"])  # a separate package since Debian 13

    def _apt(self, packages: list[str]) -> None:
        names = " ".join(packages)
        self._order.say(f"      installing {names}")
        script = f"apt-get update -qq; apt-get install -y -qq --no-install-recommends {names}"
        self.run(script, what=f"installing {names}")

    def install_pedal(self) -> None:
        wheel = next(self._order.wheels.glob("nverb-*.whl"))
        version = wheel.name.split("-")[1]
        place = f"/opt/nverb/{version}-{hashlib.sha256(wheel.read_bytes()).hexdigest()[:8]}"
        options = "--system-site-packages" if self._instead_of_wheels() else ""
        self.run(
            f"rm -rf {place}; umask 022; /usr/bin/python3 -m venv {options} {place}; "
            f"{place}/bin/pip install -q --disable-pip-version-check --no-index "
            f"--find-links /tmp/wheels /tmp/wheels/{wheel.name}; "
            f"touch {place}/complete; {place}/bin/nverb service install",
            what=f"installing {wheel.name}",
        )

    def settle(self) -> None:
        order = self._order
        self.place("etc/hostname", f"{order.hostname}\n")
        lines = self.files.text("etc/hosts").splitlines() or ["127.0.0.1 localhost"]
        kept = [line for line in lines if not line.startswith("127.0.1.1")]
        self.place("etc/hosts", "\n".join([*kept, f"127.0.1.1 {order.hostname}"]) + "\n")
        # Each image is one pedal, so its identity is created here: a read-only system cannot store
        # it.
        self.place("etc/machine-id", f"{uuid.uuid4().hex}\n", mode=0o444)
        dbus = "var/lib/dbus/machine-id"
        if self.files.exists(dbus):
            self.files.symlink(dbus, "/etc/machine-id")
        self._add_user()
        if not any(
            (self.root / name).exists()
            for name in ("usr/sbin/NetworkManager", "sbin/ifup", "usr/sbin/dhcpcd")
        ):
            self.place("etc/systemd/network/80-wired.network", WIRED)
            self.run(
                "systemctl -q enable systemd-networkd 2>/dev/null || true",
                what="enabling the network",
            )
        if order.added is not None:
            self.files.copy_tree(order.added)
        settings = shlex.join(order.settings)
        self.run(
            f"chown -R nverb:nverb /{STATE}; cd /; "
            + (f"umask 007; setpriv --reuid nverb --regid nverb --clear-groups "
               f"env NVERB_DATA_DIR=/{STATE} HOME={HOME} "
               f"/opt/nverb/current/bin/nverb settings set {settings}" if settings else ""),
            what="settings",
        )  # fmt: skip

    def _add_user(self) -> None:
        order = self._order
        self.run(
            "rm -f /etc/ssh/ssh_host_*; [ ! -x /usr/bin/ssh-keygen ] || ssh-keygen -q -A; "
            f"getent passwd {order.user} >/dev/null || useradd -m -s /bin/bash {order.user}; "
            "for g in nverb systemd-journal audio sudo gpio spi i2c; do "
            f"! getent group $g >/dev/null || usermod -aG $g {order.user}; done",
            what=f"making the user {order.user}",
        )
        if order.key:
            # The account has no password: the owner of the key may do everything, sudo included.
            self.run(
                f"h=$(getent passwd {order.user} | cut -d: -f6); "
                f"install -d -m 700 -o {order.user} -g {order.user} $h/.ssh; "
                "printf '%s\\n' \"$KEY\" > $h/.ssh/authorized_keys; "
                f"chown {order.user}: $h/.ssh/authorized_keys; "
                "chmod 600 $h/.ssh/authorized_keys; systemctl -q enable ssh; "
                "[ ! -d /etc/sudoers.d ] || "
                f"install -m 440 /dev/null /etc/sudoers.d/010_{order.user}",
                what="placing the key",
                KEY=order.key.strip(),
            )
            if (self.root / "etc/sudoers.d").is_dir():
                self.place(
                    f"etc/sudoers.d/010_{order.user}",
                    f"{order.user} ALL=(ALL) NOPASSWD: ALL\n",
                    mode=0o440,
                )

    def make_bootable(self) -> None:
        for name, text in FILES.items():
            if name.startswith("etc/rpi/") and not (self.root / "etc/rpi").is_dir():
                continue
            self.place(name, text)
        if (self.root / "etc/cloud").is_dir():
            self.place("etc/cloud/cloud-init.disabled", "")
        self.run(
            f"systemctl -q mask {' '.join(MASKED)} 2>/dev/null", what="masking services that write"
        )
        # overlayroot runs in the initrd, but its package does not rebuild it.
        self.run("update-initramfs -u -k all", what="making the initrd")
        cmdline = f"{BOOT}/cmdline.txt"
        if self._has_firmware():
            words = self.files.text(cmdline)
            self.place(cmdline, command_line(words, self.root_name) + "\n")
        else:
            self._make_efi()
        self.place("etc/fstab", fstab(self.disk_id, 3) + BOOT_FSTAB)

    def boot_mib(self) -> int:
        used = sum(path.stat().st_size for path in (self.root / BOOT).rglob("*") if path.is_file())
        return max(128, used * 5 // 4 // MIB + 64)

    def _instead_of_wheels(self) -> list[str]:
        """Debian's packages for modules without a wheel on PyPI, as APT_WHEELS in the Makefile.

        The pedal's environment sees them.
        """
        architecture, *names = self.run(
            "dpkg --print-architecture; apt-cache pkgnames python3-soxr",
            what="reading the architecture",
        ).split()
        if architecture != "armhf":
            return []
        soxr = [name for name in names if name == "python3-soxr"]
        return ["python3-numpy", "python3-cffi", *soxr]

    def _has_firmware(self) -> bool:
        return (self.root / BOOT / "cmdline.txt").is_file()

    def _make_efi(self) -> None:
        boot = self.root / "boot"
        kernels = [
            path
            for path in boot.glob("vmlinuz-*")
            if (boot / path.name.replace("vmlinuz", "initrd.img")).is_file()
        ]
        if not kernels:
            raise UserError(
                f"{self._order.source}: no kernel with an initrd in its /boot, "
                "and no Raspberry Pi firmware: "
                "mmdebstrap --include=linux-image-arm64 (or -amd64), or start from an OS image"
            )
        kernel = max(kernels, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
        loaders = self.root / "usr/lib/systemd/boot/efi"
        found = {name: source for name, source in _EFI.items() if (loaders / source).is_file()}
        for name, source in found.items():
            self.files.copy(loaders / source, f"{BOOT}/EFI/BOOT/{name}")
        if not found:
            raise UserError(
                f"{EFI_PACKAGE} has no boot loader for this architecture: "
                "start from an OS image for the board"
            )
        initrd = boot / kernel.name.replace("vmlinuz", "initrd.img")
        self.files.copy(kernel.resolve(), f"{BOOT}/vmlinuz")
        self.files.copy(initrd.resolve(), f"{BOOT}/initrd.img")
        self.place(f"{BOOT}/loader/loader.conf", "timeout 0\n")
        options = command_line("quiet", self.root_name)
        entry = f"title nverb\nlinux /vmlinuz\ninitrd /initrd.img\noptions {options}\n"
        self.place(f"{BOOT}/loader/entries/nverb.conf", entry)
        self.boot_type = ESP


def command_line(words: str, root: str) -> str:
    """The kernel command line of a system on the read-only partition `root`.

    `words`: the command line before. fsck.repair: the data partition is repaired without a question
    after a power cut, so that the board starts. It contains neither ro nor rw: the root is
    read-only by default, and with `ro` overlayroot makes its tmpfs read-only too.
    """
    dropped = re.compile(
        r"root=.*|rootfstype=.*|rootwait|rw|ro|resize|fsck\.repair=.*|init=.*|"
        r"systemd\.run\S*|overlayroot=.*|panic=.*"
    )
    kept = [word for word in words.split() if not dropped.fullmatch(word)]
    return " ".join(
        [*kept, f"root={root}", "rootfstype=ext4", "rootwait", "fsck.repair=yes", "panic=10"]
    )


def _remove(folder: Path) -> None:
    """Delete a folder, but nothing that is mounted in it."""
    subprocess.run(["rm", "-rf", "--one-file-system", os.fspath(folder)], check=True)
