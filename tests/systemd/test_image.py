"""Disk images, read back by the file systems' own tools (debugfs, mtools, sfdisk) and a loop
mount.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dsp.errors import UserError
from firmware_py.commands.image import check_settings
from systemd.image import BOOT, MIB, STATE, write_disk
from systemd.partitions import find, unpack_image
from systemd.tree import Order, check, command_line

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("mke2fs", "debugfs", "sfdisk", "mcopy", "xz")),
    reason="apt-get install e2fsprogs fdisk mtools xz-utils",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, text in {
        "etc/hostname": "pedal\n",
        f"{STATE}/presets.json": "{}",
        f"{BOOT}/cmdline.txt": "root=PARTUUID=0-02\n",
        f"{BOOT}/overlays/mcp3008.dtbo": "x",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / STATE).chmod(0o2770)
    return root


def listing(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (
            path.stat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(root.rglob("*"))
    }


def table(image: Path) -> dict[str, object]:
    done = subprocess.run(["sfdisk", "--json", image], capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)["partitiontable"]
    return found


def partition(image: Path, number: int, scratch: Path) -> Path:
    """The bytes of a partition in a file."""
    row = table(image)["partitions"][number - 1]  # type: ignore[index]
    target = scratch / f"part{number}"
    with open(image, "rb") as file:
        file.seek(row["start"] * 512)
        target.write_bytes(file.read(row["size"] * 512))
    return target


def debugfs(part: Path, command: str) -> str:
    return subprocess.run(
        ["debugfs", "-R", command, part], capture_output=True, text=True, check=True
    ).stdout


def test_write_disk_puts_each_folder_on_its_partition(tree: Path, tmp_path: Path) -> None:
    before = listing(tree)
    image = tmp_path / "pedal.img"
    layout = write_disk(tree, image, boot_mib=40, data_mib=8, slack_mib=8, disk_id=0x1234ABCD)
    found = table(image)
    assert (found["label"], found["id"]) == ("dos", "0x1234abcd")
    rows = found["partitions"]
    assert [row["type"] for row in rows] == ["c", "83", "83"]  # type: ignore[attr-defined]
    sizes_mib = [row["size"] * 512 // MIB for row in rows]  # type: ignore[attr-defined]
    assert sizes_mib == list(layout)
    system, data = partition(image, 2, tmp_path), partition(image, 3, tmp_path)
    assert debugfs(system, "cat /etc/hostname") == "pedal\n"
    assert debugfs(data, "cat /presets.json") == "{}"
    assert "presets.json" not in debugfs(system, f"ls /{STATE}") and "cmdline" not in debugfs(
        system, f"ls /{BOOT}"
    )
    assert "Mode:  02770" in debugfs(data, "stat /") or "Mode:  02770" in debugfs(
        system, f"stat /{STATE}"
    )
    boot = subprocess.run(
        ["mtype", "-i", f"{image}@@1M", "::/cmdline.txt"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert boot.stdout == "root=PARTUUID=0-02\n"
    for part in (system, data):
        assert (
            subprocess.run(["e2fsck", "-fn", part], capture_output=True, check=False).returncode
            == 0
        )
    assert listing(tree) == before
    assert {path.name for path in tmp_path.iterdir()} == {"tree", "pedal.img", "part2", "part3"}


def test_failed_write_disk_changes_nothing(tree: Path, tmp_path: Path) -> None:
    image = tmp_path / "pedal.img"
    image.write_text("the one before")
    (tree / STATE / "large").write_bytes(os.urandom(9 * MIB))
    before = listing(tree)
    with pytest.raises(UserError, match="mke2fs failed"):
        write_disk(tree, image, data_mib=8)
    assert image.read_text() == "the one before" and listing(tree) == before
    assert {path.name for path in tmp_path.iterdir()} == {"tree", "pedal.img"}


def test_unpack_image_returns_written_tree(tree: Path, tmp_path: Path) -> None:
    """The layout of Raspberry Pi OS: FAT, then Linux. The third partition is the pedal's."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    image, target = tmp_path / "os.img", tmp_path / "back"
    before = listing(tree)
    write_disk(tree, image, boot_mib=40, data_mib=8, slack_mib=8)
    subprocess.run(["xz", "-0", image], check=True)
    target.mkdir()
    try:
        unpack_image(image.with_suffix(".img.xz"), target)
    except UserError as error:
        pytest.skip(f"cannot mount here: {error}")
    found = {name: text for name, (_, text) in listing(target).items() if "lost+found" not in name}
    assert found == {
        name: text for name, (_, text) in before.items() if not name.startswith(f"{STATE}/")
    }
    assert "os.img" not in {path.name for path in tmp_path.iterdir()}


def test_find_rejects_images_that_cannot_boot(tree: Path, tmp_path: Path) -> None:
    image = tmp_path / "os.img"
    write_disk(tree, image, data_mib=8, slack_mib=8)
    assert find(image, image)[0] is None
    with open(image, "r+b") as file:
        file.seek(
            256 * 512
        )  # where a BeagleBone's ROM looks for its boot loader (AM335x manual, 26.1.8.5.5)
        file.write(b"MLO")
    with pytest.raises(UserError, match="boot loader before its first partition"):
        find(image, image)
    image.write_bytes(bytes(MIB))
    with pytest.raises(UserError, match="no MBR"):
        find(image, image)


TRIXIE = (
    "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 "
    "fsck.repair=yes rootwait resize"
)
BOOKWORM = TRIXIE.replace(
    " resize", " quiet init=/usr/lib/raspberrypi-sys-mods/firstboot cfg80211.ieee80211_regdom=DE"
)
"""From RPi-Distro's pi-gen and raspberrypi-sys-mods."""


@pytest.mark.parametrize("words", [BOOKWORM, TRIXIE])
def test_command_line_drops_first_boot_of_raspberry_pi_os(words: str) -> None:
    """It would grow the system over the pedal's partition."""
    found = command_line(words, "PARTUUID=12345678-02").split()
    assert not {word for word in found if word.startswith("init=")} and "resize" not in found
    assert [word for word in found if word.startswith("root=")] == ["root=PARTUUID=12345678-02"]
    assert (
        not {"ro", "rw"} & set(found) and found.count("rootwait") == 1 and "console=tty1" in found
    )
    assert command_line(" ".join(found), "PARTUUID=12345678-02").split().count("panic=10") == 1


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "nverb-0.1.0-cp311-cp311-linux_aarch64.whl").touch()
    return folder


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"source": Path("/nonexistent")}, "no such folder or file"),
        ({"wheels": Path("/")}, "make board-wheels"),
        ({"settings": ("card=nonsense",)}, "aplay -l"),
        ({"settings": ("crad=hw:0",)}, "did you mean card"),
        ({"hostname": "a b"}, "not a host name"),
        ({"user": "root"}, "another name"),
        ({"key": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "ends in .pub"),
        ({"data_mib": 1}, "16 to"),
    ],
)
def test_check_rejects_invalid_order(
    tree: Path, wheels: Path, wrong: dict[str, object], message: str
) -> None:
    right = {
        "source": tree,
        "wheels": wheels,
        "settings": ("card=hw:0",),
        "key": "ssh-ed25519 AAAA me",
    }
    check(Order(**right), check_settings)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        check(Order(**(right | wrong)), check_settings)  # type: ignore[arg-type]


def test_image_command_fails_in_one_line_and_leaves_nothing(
    tree: Path, wheels: Path, tmp_path: Path
) -> None:
    """The tree contains no Debian."""
    key = tmp_path / "key.pub"
    key.write_text("ssh-ed25519 AAAA me\n")
    words = ["image", tree, "-o", tmp_path / "pedal.img", "--wheels", wheels, "--key", key]
    done = subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "contains no Debian" in last if os.geteuid() == 0 else "sudo" in last
    assert {path.name for path in tmp_path.iterdir()} == {"tree", "wheels", "key.pub"}
