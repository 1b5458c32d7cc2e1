"""Disk images for the emulated boards: Debian with the pedal, in cached layers.

| layer                            | made again                     |
|----------------------------------|--------------------------------|
| Debian and packages (mmdebstrap) | when the packages change       |
| settings of the guest            | with each change of this file  |
| `make install` of this checkout  | with each change of the source |

The disk has two partitions like a board's card: the system, which is never written, and the pedal's
data.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import cache
import debian
import wheels
from cache import REPOSITORY
from debian import Platform, layered

sys.path.insert(0, str(REPOSITORY))
from systemd.image import STATE, fstab, write_disk

DATA_MIB = 64
DISK_ID = 0x6E766572

PACKAGES = [
    "systemd-sysv",
    "udev",
    "kmod",
    "dbus",
    "openssh-server",
    "openssh-client",
    "python3",
    "python3-venv",
    "iproute2",
    "alsa-utils",
    "jackd2",
    "libsndfile1",
    "make",
    "procps",
    "sudo",
]


def base(platform: Platform) -> Path:
    """Debian's root folder, unchanged."""
    packages = [*PACKAGES, *platform.packages]
    return cache.made(
        f"root-{platform.name}",
        [packages],
        lambda target: debian.bootstrap(platform, target, packages),
    )


PROFILE = """# The board that pedal_sim.c simulates: five pots, four footswitches, four LEDs.
title = "Emulated board"
scan_hz = 200
gpiochip = 0

adc = [
  { chip = "mcp3008", spi = [0, 0] },
]
knob = [
  { channel = 0, control = "gain" },
  { channel = 1, control = "x" },
  { channel = 2, control = "y" },
  { channel = 3, control = "z" },
  { channel = 4, control = "width" },
]
switch = [
  { line = 17, action = "bypass" },
  { line = 27, action = "hold" },
  { line = 5, action = "preset next" },
  { line = 6, action = "tap" },
]
led = [
  { line = 22, shows = "on" },
  { line = 23, shows = "clip" },
  { line = 24, shows = "fault" },
  { line = 25, shows = "activity" },
]
"""
# snd-aloop moves its pointer at each tick of the kernel, every 4 ms. With fewer than 512 frames two
# of JACK's periods may end in one tick.
SETTINGS = """version = 1
profile = "emulated"
card = "hw:Loopback"
block_frames = 512
periods = 3
capture_channels = 2
playback_channels = 2
"""
POTS = "950,300,500,500,640"
"""Positions of the pots when the guest boots: gain, x, y, z, width."""

MASKED = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "man-db.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "serial-getty@ttyAMA0.service",
    "systemd-networkd-wait-online.service",
    "systemd-random-seed.service",
    "systemd-logind.service",
]
GUEST_FILES = {
    "etc/hostname": "pedal\n",
    "etc/hosts": "127.0.0.1 localhost pedal\n",
    "etc/machine-id": "6e766572620000000000000000000001\n",
    "etc/systemd/network/10-all.network": "[Match]\nName=e*\n[Network]\nDHCP=ipv4\n",
    "etc/ssh/sshd_config.d/acceptance.conf": (
        "UseDNS no\nPermitRootLogin prohibit-password\nGSSAPIAuthentication no\n"
    ),
    "etc/modules-load.d/acceptance.conf": (
        "snd-aloop\nspidev\npedal_sim\nsnd-seq\nsnd-virmidi\npedal_card\n"
    ),
    "etc/modprobe.d/acceptance.conf": (
        "options snd-aloop index=0 id=Loopback pcm_substreams=1\n"
        f"options snd-virmidi index=1\noptions pedal_sim pots={POTS}\n"
    ),
    "etc/systemd/journald.conf.d/acceptance.conf": (
        "[Journal]\nStorage=volatile\nForwardToConsole=no\n"
    ),
    # gpiozero reads the model from /proc/cpuinfo: a Raspberry Pi 4 B.
    "etc/pedal-cpuinfo": (
        "Hardware\t: BCM2835\nRevision\t: c03111\nModel\t\t: Raspberry Pi 4 Model B Rev 1.1\n"
    ),
    "etc/systemd/system/nverb-control.service.d/acceptance.conf": (
        "[Service]\nBindReadOnlyPaths=/etc/pedal-cpuinfo:/proc/cpuinfo\n"
    ),
    "etc/systemd/system.conf.d/acceptance.conf": "[Manager]\nDefaultTimeoutStopSec=10s\n",
}


def guest_files(platform: Platform) -> dict[str, str]:
    pi = GUEST_FILES["etc/pedal-cpuinfo"]
    return GUEST_FILES | (
        {"etc/pedal-cpuinfo": debian.ARM_PROCESSOR + pi} if platform.arch == "arm64" else {}
    )


def profile(platform: Platform) -> str:
    """PROFILE; qemu's aarch64 machine has a gpiochip of its own, so ours is the second."""
    return PROFILE.replace("gpiochip = 0", "gpiochip = 1") if platform.arch == "arm64" else PROFILE


def _prepare_guest(root: Path, files: dict[str, str], kernel: debian.Kernel, key: Path) -> None:
    """Add everything but the pedal: kernel modules, network, ssh, and the settings in `files`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    system = root / "etc/systemd/system"
    wants = system / "multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    link = wants / "systemd-networkd.service"
    if not link.is_symlink():
        link.symlink_to("/lib/systemd/system/systemd-networkd.service")
    for unit in MASKED:
        (system / unit).unlink(missing_ok=True)
        (system / unit).symlink_to("/dev/null")
    shutil.copytree(kernel.modules / "lib/modules", root / "usr/lib/modules", dirs_exist_ok=True)
    _authorise(root / "root", key, owner=0)


def _authorise(home: Path, key: Path, owner: int) -> None:
    folder = home / ".ssh"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(key.with_suffix(".pub"), folder / "authorized_keys")
    for path, mode in ((folder, 0o700), (folder / "authorized_keys", 0o600)):
        os.chown(path, owner, owner)
        path.chmod(mode)


PLAYER = "player"
PLAYER_ID = 1000


def key() -> Path:
    """An ssh key for all guests."""

    def make(target: Path) -> None:
        words = [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "nverb acceptance",
            "-f",
            target / "key",
        ]
        cache.run(words, what="making an ssh key")

    return cache.made("key", ["ed25519"], make) / "key"


def guest_root(platform: Platform) -> Path:
    """The layer with the settings of the guest."""
    kernel, secret, below = debian.kernel(platform), key(), base(platform)

    def make(target: Path) -> None:
        with layered(below, upper=target) as root:
            _prepare_guest(root, guest_files(platform), kernel, secret)
            script = f"ssh-keygen -q -A; useradd -m -u {PLAYER_ID} -s /bin/bash {PLAYER}"
            debian.chroot(platform, root, script, what="preparing the guest")
            _authorise(root / "home" / PLAYER, secret, owner=PLAYER_ID)

    return cache.made(
        f"guest-{platform.name}",
        [guest_files(platform), MASKED, below.name, kernel.folder.name, secret.parent.name],
        make,
    )


INSTALL = """
cd /usr/src/nverb
make install WHEEL="$(echo /usr/src/wheels/nverb-*.whl)" \\
    APT_RUN="jackd2 python3-venv libsndfile1 alsa-utils" APT_PYO=
# On x86 nverb does not require lgpio.
/opt/nverb/current/bin/pip install -q lgpio
usermod -aG nverb,audio player
"""


def installed(platform: Platform) -> Path:
    """The layer that `make install` of this checkout's wheel makes."""
    lower = [guest_root(platform), base(platform)]
    house = wheels.house(platform)
    parts = [wheels.nverb(platform).parent.name, house.name, *(p.name for p in lower), INSTALL]
    parts += [REPOSITORY / "Makefile", profile(platform), SETTINGS, fstab(DISK_ID, 2)]

    def make(target: Path) -> None:
        with layered(*lower, upper=target) as root:
            source = root / "usr/src"
            (source / "nverb").mkdir(parents=True)
            wheels.checkout(source / "nverb")
            shutil.copytree(house, source / "wheels")
            environment = {
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": "/usr/src/wheels",
                "PIP_NO_COMPILE": "",
            }
            log = debian.chroot(
                platform, root, INSTALL, what="make install on the board", environment=environment
            )
            (cache.folder() / f"install-{platform.name}.log").write_text(log)
            state = root / STATE
            (state / "profiles").mkdir(exist_ok=True)
            (state / "profiles/emulated.toml").write_text(profile(platform))
            (state / "settings.toml").write_text(SETTINGS)
            owner = state.stat()
            for path in (state, *state.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid)
            (root / "etc/fstab").write_text(fstab(DISK_ID, 2))
            shutil.rmtree(source / "nverb")
            shutil.rmtree(source / "wheels")

    return cache.made(f"installed-{platform.name}", parts, make)


def disk(platform: Platform) -> Path:
    """The disk of a new board: raw and sparse. Guests use overlays of it and never write to it."""
    layers = [installed(platform), guest_root(platform), base(platform)]

    def make(target: Path) -> None:
        with (
            tempfile.TemporaryDirectory(dir=cache.folder()) as upper,
            layered(*layers, upper=Path(upper)) as root,
        ):
            write_disk(root, target / "disk.img", data_mib=DATA_MIB, disk_id=DISK_ID)

    return (
        cache.made(f"disk-{platform.name}", [p.name for p in layers] + [DATA_MIB, DISK_ID], make)
        / "disk.img"
    )


def system_bytes() -> int:
    """The start of the data partition on the disk of an x86 board. All before it is read-only."""
    table = cache.run(["sfdisk", "--json", disk(Platform("amd64", "bookworm"))], what="sfdisk")
    partitions = json.loads(table)["partitiontable"]["partitions"]
    return int(partitions[-1]["start"]) * 512
