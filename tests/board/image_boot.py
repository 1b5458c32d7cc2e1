"""image: boot the disk image of docs/board.md's `nverb image`: UEFI, boot loader, kernel, overlay.

The guest's disk is a copy of the raw image. All bytes before its data partition must be the same
after writes, power cuts and boots.
"""

from __future__ import annotations

import hashlib
import json
import random
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import cache
import farend
import guide_doc
import images
import wheels
from debian import Platform, mirrors
from guest import Guest, GuestError
from guide import Add, desk, run_on_desk
from push import nverb
from report import Report

BOARD = Platform("amd64", "bookworm")
FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
USER = "pedal"
ADDED = {
    # The guest's clock needs it, see spin.c.
    "etc/systemd/system/spin.service": (
        "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/usr/local/bin/spin\nNice=19\n"
    ),
    "etc/modules-load.d/acceptance.conf": "snd-aloop\n",
    "etc/modprobe.d/acceptance.conf": "options snd-aloop index=0 id=Loopback pcm_substreams=1\n",
}
CARD = (
    "--set card=hw:Loopback --set block_frames=512 --set periods=3 "
    "--set capture_channels=2 --set playback_channels=2"
)
"""For the reason see images.SETTINGS."""
WRITING = (
    "for n in $(seq 50); do nverb preset save again; "
    "nverb settings set max_ir_s=$((5 + n % 2)); done"
)


class ImageGuest(Guest):
    """A board whose card is a copy of the image.

    `by_firmware`: start by UEFI and boot loader. Otherwise qemu loads the card's kernel and initrd
    itself, which is faster, with the card's command line and `more`.
    """

    def __init__(self, card: Path, *, by_firmware: bool = False, more: str = "") -> None:
        super().__init__(BOARD, name="image", disk=card, disk_format="raw")
        self._by_firmware, self._more = by_firmware, more

    def _boot_words(self) -> list[str | Path]:
        if self._by_firmware:
            return ["-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}"]
        for name in ("vmlinuz", "initrd.img", "loader/entries/nverb.conf"):
            read_boot(self.disk, name, self.folder / Path(name).name)
        entry = (self.folder / "nverb.conf").read_text()
        options = next(
            line.removeprefix("options ")
            for line in entry.splitlines()
            if line.startswith("options ")
        )
        options += f" console=ttyS0 {self._more}"
        return [
            "-kernel",
            self.folder / "vmlinuz",
            "-initrd",
            self.folder / "initrd.img",
            "-append",
            options,
        ]


def read_boot(card: Path, name: str, target: Path) -> None:
    """Copy a file of the boot partition to `target`."""
    cache.run(
        ["mcopy", "-n", "-i", f"{card}@@1M", f"::/{name}", target],
        what=f"reading {name} from the image",
    )


def commands() -> tuple[str, str, str]:
    """The three commands of the document's [image] block. Raises GuestError if they differ."""
    found = [block.script for block in guide_doc.blocks() if block.mark == "image"]
    lines = found[0].splitlines() if len(found) == 1 else []
    starts = ("make board-wheels ", "sudo mmdebstrap ", "sudo .venv/bin/nverb image ")
    if len(lines) != 3 or not all(
        line.startswith(start) for line, start in zip(lines, starts, strict=True)
    ):
        raise GuestError(
            f"docs/board.md: the block of **[image]** must be {', '.join(starts)}: "
            "adapt image_boot.py"
        )
    return lines[0], lines[1], lines[2]


def image() -> Path:
    """The image, made by the document's commands, for x86-64 instead of ARM."""
    make_wheels, make_system, make_image = commands()
    parts = [
        make_system,
        make_image,
        wheels.source_digest(),
        ADDED,
        CARD,
        images.key().parent.name,
        wheels.house(BOARD).name,
    ]

    def make(target: Path) -> None:
        system = cache.made(
            f"system-{BOARD.name}", [make_system], lambda folder: _system(make_system, folder)
        )
        added = target / "added"
        for name, text in ADDED.items():
            (added / name).parent.mkdir(parents=True, exist_ok=True)
            (added / name).write_text(text)
        (added / "usr/local/bin").mkdir(parents=True)
        compile_spin: list[str | Path] = [
            "gcc",
            "-O1",
            "-static",
            "-o",
            added / "usr/local/bin/spin",
            cache.HERE / "spin.c",
        ]
        cache.run(compile_spin, what="compiling spin.c")
        wants = added / "etc/systemd/system/sysinit.target.wants"
        wants.mkdir()
        (wants / "spin.service").symlink_to("../spin.service")
        ssh = added / "root/.ssh"
        ssh.mkdir(parents=True, mode=0o700)
        shutil.copy(images.key().with_suffix(".pub"), ssh / "authorized_keys")
        (added / "root").chmod(0o700)
        ours = {
            "image system": f"image {system}",
            "pedal.img": f"{target}/pedal.img",
            "arm64": "amd64",
            "~/.ssh/id_ed25519.pub": str(images.key().with_suffix(".pub")),
            "--set card=hw:sndrpihifiberry": f"{CARD} --add {added}",
        }
        with desk() as environment:
            run_on_desk(guide_doc.adapted(make_wheels, {"arm64": "amd64"}), environment)
            run_on_desk(guide_doc.adapted(make_image, ours), environment)
        shutil.rmtree(added)

    return cache.made(f"image-{BOARD.name}", parts, make) / "pedal.img"


def _system(command: str, folder: Path) -> None:
    words = guide_doc.adapted(
        command,
        {
            "arm64": "amd64",
            "bookworm system": f"bookworm {shlex.quote(str(folder))} {mirrors()[0]}",
        },
    )
    folder.rmdir()
    with desk() as environment:
        run_on_desk(words, environment)


def check(report: Report, seed: int = 1) -> None:
    def add(what: str, figure: object, bar: str = "", *, ok: bool = True) -> None:
        report.add("image", BOARD.arch, what, figure, bar, ok=ok)

    made = image()
    with tempfile.TemporaryDirectory(prefix="nverb-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        card = folder / "card.img"
        cache.run(["cp", "--sparse=always", "--reflink=auto", made, card], what="writing the card")
        before = system_hash(card)
        add(
            "partitions",
            ", ".join(f"{row['size'] // 2048} MiB {row['type']}" for row in partitions(card)),
        )
        nverb("bank", "build", "-o", str(folder / "halls.nvbank"), "--grid", "4", data=folder)

        with ImageGuest(card, by_firmware=True) as guest:
            guest.boot()
            add(
                "UEFI, boot loader, initrd, to sound",
                f"{guest.wait_for_sound():.0f} s after the kernel",
            )
            units = guest.run(
                "systemctl is-active nverb-jack nverb-audio nverb-control", check=False
            ).split()
            add(
                "JACK, audio and control unit",
                " ".join(units),
                "active",
                ok=units == ["active"] * 3,
            )
            failed = guest.run("systemctl --failed --no-legend --plain").strip()
            add("failed units", failed.splitlines()[0] if failed else "none", "none", ok=not failed)
            over = guest.run(
                "findmnt -no FSTYPE /; findmnt -no OPTIONS /media/root-ro; "
                "findmnt -no OPTIONS /boot/firmware"
            ).split()
            mounts = (
                over[0] == "overlay" and over[1].startswith("ro,") and over[2].startswith("ro,")
            )
            add(
                "/ and its lower layer",
                f"{over[0]} over {over[1][:2]}",
                "overlay over ro",
                ok=mounts,
            )
            _plays(guest, add, "first power-on")
            guest.run('sudo -n true && test "$(hostname)" = pedal', user=USER)
            guest.run("echo written | sudo tee /etc/written", user=USER)
            guest.put(folder / "halls.nvbank", "/run/halls.nvbank")
            guest.run(
                "nverb set x=7; nverb preset save Kept; nverb install /run/halls.nvbank", user=USER
            )
            guest.cut_power()
        add("system after writes and a power cut", *_same(card, before))

        with ImageGuest(card) as guest:
            guest.boot()
            guest.wait_for_sound()
            _kept(guest, add, "second power-on")
            gone = guest.run("test -e /etc/written || echo gone").strip()
            add("a file written to /etc", gone or "still there", "gone", ok=gone == "gone")
            writing = subprocess.Popen(
                [*guest.ssh_words(USER), WRITING],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            time.sleep(random.Random(seed).uniform(0.5, 4))
            guest.cut_power()
            writing.kill()
            writing.wait()

        with ImageGuest(card, more="overlayroot=disabled") as guest:
            guest.boot()
            guest.wait_for_sound()
            root = guest.run("findmnt -no FSTYPE,OPTIONS /").split()
            plain = root[0] == "ext4" and root[1].startswith("ro,")
            add(
                "power cut during writes; then no overlay: /",
                f"{root[0]} {root[1][:2]}",
                "ext4 ro",
                ok=plain,
            )
            _kept(guest, add, "plain read-only root")
            _plays(guest, add, "plain read-only root")
            guest.cut_power()
        add("system after three boots and two cuts", *_same(card, before))
    _from_os_image(report)


def _from_os_image(report: Report) -> None:
    """Make an image from an OS image with the partitions and command line of Raspberry Pi OS.

    The files in it are Debian's.
    """
    make_image = commands()[2]
    system = cache.made(
        f"system-{BOARD.name}", [commands()[1]], lambda folder: _system(commands()[1], folder)
    )
    before = (
        "console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait resize"
    )

    def make(target: Path) -> None:
        upper, os_image = target / "upper", target / "raspios.img"
        upper.mkdir()
        with images.layered(system, upper=upper) as root:
            firmware = root / "boot/firmware"
            firmware.mkdir(parents=True, exist_ok=True)
            (firmware / "cmdline.txt").write_text(before + "\n")
            (firmware / "config.txt").write_text("auto_initramfs=1\n")
            images.write_disk(root, os_image, boot_mib=64, data_mib=16)
        cache.run(["xz", "-0", "-T0", os_image], what="xz")
        ours = {
            "image system": f"image {os_image}.xz",
            "pedal.img": f"{target}/pedal.img",
            "arm64": "amd64",
            "~/.ssh/id_ed25519.pub": str(images.key().with_suffix(".pub")),
            "card=hw:sndrpihifiberry": "card=hw:Other",
        }
        with desk() as environment:
            run_on_desk(guide_doc.adapted(make_image, ours), environment)
        cache.remove(upper)
        Path(f"{os_image}.xz").unlink()

    parts = [system.name, make_image, before, wheels.source_digest(), wheels.house(BOARD).name]
    card = cache.made(f"image-os-{BOARD.name}", parts, make) / "pedal.img"
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        read_boot(card, "cmdline.txt", Path(scratch, "cmdline.txt"))
        words = Path(scratch, "cmdline.txt").read_text().split()
    table = json.loads(cache.run(["sfdisk", "--json", card], what="sfdisk"))["partitiontable"]
    wanted = f"root=PARTUUID={table['id'][2:]}-02"
    good = wanted in words and "console=tty1" in words and "resize" not in words
    report.add(
        "image", BOARD.arch, "from an OS image: cmdline.txt", " ".join(words)[:60], wanted, ok=good
    )
    kinds = [row["type"] for row in table["partitions"]]
    report.add(
        "image",
        BOARD.arch,
        "from an OS image: partitions",
        " ".join(kinds),
        "c 83 83",
        ok=kinds == ["c", "83", "83"],
    )


def _plays(guest: Guest, add: Add, when: str) -> None:
    count, good = farend.dropouts(guest)
    add(f"{when}: dropouts in a pilot tone", count, "0", ok=good)


def _kept(guest: Guest, add: Add, when: str) -> None:
    presets, bank = guest.run("nverb preset list"), guest.status()["room"]["path"].partition("@")[0]
    settings = guest.run("nverb settings show")
    kept = "Kept" in presets and bank == "halls" and 'card = "hw:Loopback"' in settings
    add(
        f"{when}: preset, bank, settings",
        "kept" if kept else f"{presets!r} {bank!r}"[:80],
        "kept",
        ok=kept,
    )


def _same(card: Path, before: str) -> tuple[str, str]:
    now = system_hash(card)
    if now != before:
        raise GuestError(f"the bytes of the system changed: {before[:12]} -> {now[:12]}")
    return f"sha256 {now[:12]}", "bit-identical"


def partitions(card: Path) -> list[dict[str, int]]:
    rows: list[dict[str, int]] = json.loads(cache.run(["sfdisk", "--json", card], what="sfdisk"))[
        "partitiontable"
    ]["partitions"]
    return rows


def system_hash(card: Path) -> str:
    """SHA-256 of every byte before the data partition: MBR, boot partition, system."""
    left = partitions(card)[-1]["start"] * 512
    digest = hashlib.sha256()
    with open(card, "rb") as file:
        while left and (data := file.read(min(left, 1 << 22))):
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()
