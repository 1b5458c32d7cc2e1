"""Writes disk images of a pedal: a read-only system and one partition for all data of the pedal.

| partition   | file system      | label      | mounted                           |
|-------------|------------------|------------|-----------------------------------|
| 1 (if any)  | FAT32            | BOOT       | /boot/firmware, read-only         |
| 1 or 2      | ext4, no journal | nverb-root | /, read-only, with a tmpfs over it |
| last        | ext4             | nverb-data | /var/lib/nverb                    |

Needs no mount and no loop device: the file systems are created with their content (mke2fs -d,
mcopy). systemd/tree.py makes the tree for a board (`nverb image`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from dsp.errors import UserError

MIB = 1024 * 1024
BOOT, STATE = "boot/firmware", "var/lib/nverb"
BOOT_LABEL, ROOT_LABEL, DATA_LABEL = "BOOT", "nverb-root", "nverb-data"
FAT, ESP, LINUX = "c", "ef", "83"
"""Partition types in an MBR."""
MAY_FAIL = "nofail,x-systemd.device-timeout=30s,x-systemd.before=local-fs.target"
"""Mounted before the services start. If the mount fails, the pedal still plays the rooms that come
with nverb.
"""
BOOT_FSTAB = f"LABEL={BOOT_LABEL} /{BOOT} vfat ro,nosuid,nodev,noexec,umask=0022,nofail 0 2\n"


def partition(disk_id: int, number: int) -> str:
    """The name of a partition for the kernel, the initrd and fstab, on any card reader.

    `disk_id`: as for write_disk.
    """
    return f"PARTUUID={disk_id:08x}-{number:02d}"


def fstab(disk_id: int, number: int) -> str:
    """The lines of /etc/fstab for a disk whose data partition has this number.

    The partition is named by its place, not by its label. If its content is lost, the partition is
    still there and the mount fails at once. So the device timeout, which delays the sound on a card
    without such a partition, can be long enough for a slow board.
    """
    options = f"noatime,nosuid,nodev,commit=1,errors=remount-ro,{MAY_FAIL}"
    return f"""# The initrd mounts / read-only with a tmpfs over it. Only this partition is written:
{partition(disk_id, number)} /{STATE} ext4 {options} 0 2
"""


class Layout(NamedTuple):
    """Sizes of the partitions in MiB."""

    boot_mib: int
    root_mib: int
    data_mib: int


def write_disk(
    tree: Path,
    image: Path,
    *,
    boot_mib: int = 0,
    data_mib: int = 256,
    slack_mib: int = 64,
    disk_id: int | None = None,
    boot_type: str = FAT,
) -> Layout:
    """Write the folder `tree`, a complete system with its owners (so: as root), to a disk image.

    The tree's /var/lib/nverb goes to the data partition; with `boot_mib` its /boot/firmware goes to
    a FAT partition. `slack_mib`: free space of the system; `disk_id`: see `partition`. The tree is
    restored afterwards. Raises UserError, OSError; `image` stays unchanged then.
    """
    require("mke2fs", "sfdisk", *(("mformat", "mcopy") if boot_mib else ()))
    scratch = image.with_name(f".{image.name}.parts")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        parts = []
        # mke2fs takes the complete folder, so the content of other partitions is moved out
        # meanwhile.
        state = _Aside(tree / STATE, scratch / "state")
        boot = _Aside(tree / BOOT, scratch / "boot") if boot_mib else None
        try:
            if boot:
                boot.take()
                parts.append((boot_type, _fat(boot.aside, scratch / "boot.fat", boot_mib)))
            state.take()
            used_mib = int(_run("du", "-sxm", "--apparent-size", tree).split()[0])
            root_mib = used_mib * 11 // 10 + slack_mib
            options = ("-O", "^has_journal", "-m", "0")
            parts.append((LINUX, _ext4(tree, scratch / "root", root_mib, ROOT_LABEL, *options)))
            # The state is small and written synchronously; the journal protects it from power cuts.
            data = _ext4(
                state.aside, scratch / "data", data_mib, DATA_LABEL, "-O", "has_journal", "-m", "0"
            )
            parts.append((LINUX, data))
        finally:
            state.put_back()
            if boot:
                boot.put_back()
        disk = scratch / "disk"
        _assemble(parts, disk, disk_id)
        os.replace(disk, image)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Layout(boot_mib, root_mib, data_mib)


class _Aside:
    """Moves a folder out of the tree for a while; an empty one of the same owner and mode
    replaces it.
    """

    def __init__(self, path: Path, aside: Path) -> None:
        self._path, self.aside = path, aside
        self._was_there = path.is_dir()
        self._taken = False

    def take(self) -> None:
        if self._was_there:
            _run("cp", "-a", self._path, self.aside)
            self._taken = True
            shutil.rmtree(self._path)
        else:
            self.aside.mkdir()
        self._path.mkdir(parents=True, exist_ok=True)
        shutil.copystat(self.aside, self._path)
        owner = self.aside.stat()
        os.chown(self._path, owner.st_uid, owner.st_gid)

    def put_back(self) -> None:
        if self._taken:
            shutil.rmtree(self._path, ignore_errors=True)
            _run("cp", "-a", self.aside, self._path)


def require(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            raise UserError(
                f"{tool} is missing: sudo apt-get install e2fsprogs fdisk mtools xz-utils"
            )


def _assemble(parts: list[tuple[str, Path]], image: Path, disk_id: int | None) -> None:
    """Write an MBR (Raspberry Pi's boot ROM reads no other table) and the partitions,
    MiB-aligned.
    """
    table, at = "label: dos\n", 1
    if disk_id is not None:
        table += f"label-id: {disk_id:#010x}\n"
    places = []
    for kind, path in parts:
        size = path.stat().st_size // MIB
        table += f"start={at}MiB, size={size}MiB, type={kind}\n"
        places.append(at)
        at += size
    with open(image, "wb") as file:
        file.truncate(at * MIB)
    _run("sfdisk", "--quiet", image, text=table)
    for (_, path), place in zip(parts, places, strict=True):
        _run(
            "dd",
            f"if={path}",
            f"of={image}",
            "bs=1M",
            f"seek={place}",
            "conv=notrunc,sparse",
            "status=none",
        )
        path.unlink()


def _ext4(folder: Path, target: Path, size_mib: int, label: str, *options: str) -> Path:
    _run("mke2fs", "-q", "-t", "ext4", *options, "-L", label, "-d", folder, target, f"{size_mib}M")
    return target


def _fat(folder: Path, target: Path, size_mib: int) -> Path:
    with open(target, "wb") as file:
        file.truncate(size_mib * MIB)
    _run("mformat", "-i", target, "-F", "-v", BOOT_LABEL, "::")
    files = sorted(folder.iterdir())
    if files:
        _run("mcopy", "-s", "-i", target, *files, "::")
    return target


def _run(tool: str, *words: str | Path, text: str | None = None) -> str:
    command = [tool, *(os.fspath(word) for word in words)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        why = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise UserError(f"{tool} failed: {why[-1] if why else f'status {done.returncode}'}")
    return done.stdout
