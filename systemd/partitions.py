"""The partitions of an OS image, such as Raspberry Pi OS Lite's, as one folder. As root: Linux's is mounted, read-only, by a loop device.

| partition            | type                  | goes to         |
|----------------------|-----------------------|-----------------|
| the first with FAT   | 1, 4, 6, b, c, e, ef  | /boot/firmware  |
| the largest of Linux | 83                    | /               |
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
    """Copies the files of an OS image (.img, .img.xz) into the folder `target`, with their owners. Raises UserError."""
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
    """The FAT and the Linux partition of an MBR, as `sfdisk --json` has them. `image`: its name for errors. Raises UserError."""
    done = subprocess.run(
        ["sfdisk", "--json", os.fspath(raw)], capture_output=True, text=True, check=False
    )
    table = json.loads(done.stdout)["partitiontable"] if done.returncode == 0 else {}
    if table.get("label") != "dos":
        raise UserError(f"{image}: has no MBR with partitions: is it an OS image for a card?")
    rows = [row for row in table.get("partitions", ()) if row["size"]]
    linux = [row for row in rows if row["type"] == "83"]
    if not linux:
        raise UserError(f"{image}: no Linux partition in it")
    begin = min(row["start"] for row in rows)
    with open(raw, "rb") as file:
        file.seek(SECTOR)
        if any(file.read((begin - 1) * SECTOR)):
            raise UserError(
                f"{image}: has a boot loader before its first partition (BeagleBone), which the new image would lack: "
                "install nverb on the board itself, docs/board.md"
            )
    fat = next((row for row in rows if row["type"] in _FAT_TYPES), None)
    return fat, max(linux, key=lambda row: row["size"])


def _copy_linux(image: Path, raw: Path, row: dict[str, Any], target: Path) -> None:
    """In a mount namespace of its own: the mount and its loop device go with it."""
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
