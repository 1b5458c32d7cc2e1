"""Unpacks the partitions of an OS image, such as Raspberry Pi OS Lite, into one folder.

Needs root: the Linux partition is mounted read-only through a loop device.

| partition           | type                 | goes to        |
|---------------------|----------------------|----------------|
| first with FAT      | 1, 4, 6, b, c, e, ef | /boot/firmware |
| largest with Linux  | 83                   | /              |
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from dsp.errors import UserError
from systemd.image import BOOT

SECTOR = 512
_FAT_TYPES = ("1", "4", "6", "b", "c", "e", "ef")


def unpack_image(image: Path, target: Path) -> None:
    """Copy the files of an OS image (.img, .img.xz) into `target` with owners. Raises UserError."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        raw = image
        if image.name.endswith(".xz"):
            raw = Path(scratch, "image")
            with open(raw, "wb") as file:
                done = subprocess.run(
                    ["xz", "-dc", os.fspath(image)],
                    stdout=file,
                    stderr=subprocess.PIPE,
                    check=False,
                )
            if done.returncode:
                raise UserError(
                    f"{image}: {done.stderr.decode(errors='replace').strip()}: download it again"
                )
        fat, linux = find(image, raw)
        _copy_linux(image, raw, linux, target)
        if fat is not None:
            (target / BOOT).mkdir(parents=True, exist_ok=True)
            words = [
                "mcopy",
                "-s",
                "-n",
                "-m",
                "-i",
                f"{raw}@@{fat['start'] * SECTOR}",
                "::/*",
                os.fspath(target / BOOT),
            ]
            done = subprocess.run(words, capture_output=True, check=False)
            if done.returncode:
                raise UserError(
                    f"{image}: its FAT partition: {done.stderr.decode(errors='replace').strip()}"
                )


def find(image: Path, raw: Path) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The FAT partition, if any, and the Linux partition of an MBR, as from `sfdisk --json`.

    `image`: the name for messages. Raises UserError.
    """
    done = subprocess.run(
        ["sfdisk", "--json", os.fspath(raw)], capture_output=True, text=True, check=False
    )
    table = json.loads(done.stdout)["partitiontable"] if done.returncode == 0 else {}
    if table.get("label") != "dos":
        raise UserError(f"{image}: no MBR with partitions: is it an OS image for a card?")
    rows = [row for row in table.get("partitions", ()) if row["size"]]
    linux = [row for row in rows if row["type"] == "83"]
    if not linux:
        raise UserError(f"{image}: no Linux partition")
    begin = min(row["start"] for row in rows)
    with open(raw, "rb") as file:
        file.seek(SECTOR)
        if any(file.read((begin - 1) * SECTOR)):
            raise UserError(
                f"{image}: has a boot loader before its first partition (BeagleBone), "
                "which the new image would lack: "
                "install nverb on the board itself, docs/board.md"
            )
    fat = next((row for row in rows if row["type"] in _FAT_TYPES), None)
    return fat, max(linux, key=lambda row: row["size"])


def _copy_linux(image: Path, raw: Path, row: dict[str, Any], target: Path) -> None:
    """Runs in its own mount namespace: the mount and its loop device end with the process."""
    options = f"ro,noload,loop,offset={row['start'] * SECTOR},sizelimit={row['size'] * SECTOR}"
    script = 'mount -t ext4 -o "$1" "$2" /mnt && cp -a /mnt/. "$3"'
    words = [
        "unshare",
        "--mount",
        "sh",
        "-euc",
        script,
        "sh",
        options,
        os.fspath(raw.absolute()),
        os.fspath(target),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["?"]
        raise UserError(
            f"{image}: its Linux partition: {lines[0]} (no loop device? sudo modprobe loop)"
        )
