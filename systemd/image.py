"""Disk images of a pedal: a system that is never written, and one partition with all that the pedal keeps.

| partition | file system  | label        | mounted                                           |
|-----------|--------------|--------------|---------------------------------------------------|
| 1 (if any) | FAT32       | BOOT         | /boot/firmware, read-only                         |
| 1 or 2    | ext4, no journal | nverb-root | /, read-only, a file system in memory over it   |
| last      | ext4         | nverb-data   | /var/lib/nverb                                    |

Nothing is mounted and no loop device is needed: file systems are filled while they are made (mke2fs -d, mcopy).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from firmware_py.errors import UserError

MIB = 1024 * 1024
STATE = "var/lib/nverb"
ROOT_LABEL, DATA_LABEL = "nverb-root", "nverb-data"
FSTAB = f"""# The system is mounted by the initrd, read-only, with a file system in memory over it: no line for /. This alone is kept:
LABEL={DATA_LABEL} /{STATE} ext4 noatime,nosuid,nodev,commit=1,errors=remount-ro 0 2
"""


def write_disk(tree: Path, image: Path, *, boot_mib: int = 0, data_mib: int = 256, slack_mib: int = 64) -> None:
    """Writes the folder `tree`, a whole system owned as it shall be (so: as root), to the disk image `image`.

    What lies in the tree's /var/lib/nverb goes to the data partition. With `boot_mib` its /boot/firmware goes to a FAT partition.
    The tree is left as it was. Raises UserError, OSError; `image` is then as it was.
    """
    for tool in ("mke2fs", "sfdisk", *(("mformat", "mcopy") if boot_mib else ())):
        if shutil.which(tool) is None:
            raise UserError(f"{tool} is missing: sudo apt-get install e2fsprogs fdisk mtools")
    scratch = image.with_name(f".{image.name}.parts")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        parts = []
        state = tree / STATE
        if boot_mib:
            parts.append(("c", _fat(tree / "boot/firmware", scratch / "boot", boot_mib)))
        # mke2fs takes all of a folder: the state is moved out of it for that time.
        aside = scratch / "state"
        moved = state.is_dir()
        if moved:
            _move(state, aside)
        try:
            owner = os.stat(aside) if moved else None
            state.mkdir(parents=True, exist_ok=True)
            if not moved:
                aside.mkdir()
            used_mib = int(_run("du", "-sxm", "--apparent-size", tree).split()[0])
            root_mib = used_mib * 11 // 10 + slack_mib
            options = ("-O", "^has_journal", "-m", "0")
            parts.append(("83", _ext4(tree, scratch / "root", root_mib, ROOT_LABEL, *options)))
        finally:
            if moved:
                state.rmdir()
                _copy(aside, state)
        if owner is not None:
            os.chown(aside, owner.st_uid, owner.st_gid)
        # The state holds few bytes and is written through: a journal is what makes a power cut harmless.
        parts.append(("83", _ext4(aside, scratch / "data", data_mib, DATA_LABEL, "-O", "has_journal", "-m", "0")))
        whole = scratch / "whole"
        _assemble(parts, whole)
        os.replace(whole, image)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _assemble(parts: list[tuple[str, Path]], image: Path) -> None:
    """An MBR (all that a Raspberry Pi's boot ROM reads) and the partitions, each from a whole MiB on."""
    table, at = "label: dos\n", 1
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
        _run("dd", f"if={path}", f"of={image}", "bs=1M", f"seek={place}", "conv=notrunc,sparse", "status=none")
        path.unlink()


def _ext4(folder: Path, target: Path, size_mib: int, label: str, *options: str) -> Path:
    _run("mke2fs", "-q", "-t", "ext4", *options, "-L", label, "-d", folder, target, f"{size_mib}M")
    return target


def _fat(folder: Path, target: Path, size_mib: int) -> Path:
    with open(target, "wb") as file:
        file.truncate(size_mib * MIB)
    _run("mformat", "-i", target, "-F", "-v", "BOOT", "::")
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    if files:
        _run("mcopy", "-s", "-i", target, *files, "::")
    return target


def _copy(source: Path, target: Path) -> None:
    _run("cp", "-a", source, target)


def _move(source: Path, target: Path) -> None:
    _copy(source, target)
    shutil.rmtree(source)


def _run(tool: str, *words: str | Path, text: str | None = None) -> str:
    command = [tool, *(os.fspath(word) for word in words)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        why = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise UserError(f"{tool} failed: {why[-1] if why else f'status {done.returncode}'}")
    return done.stdout
