"""guide: run the commands of docs/board.md on a board without nverb, as a user with sudo.

NAMES and CARD replace words of the document that differ on the emulated board; the test fails if
the document no longer contains them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cache
import farend
import guide_doc
import images
from cache import REPOSITORY
from debian import Platform
from guest import Guest, GuestError
from guide_doc import adapted
from report import Report

BOARD = Platform("amd64", "bookworm")
PICTURE = guide_doc.DOCUMENT.with_name("wiring-pi-mcp3008.svg")
SPACE_MIB = 1500
MOST_COMMANDS = 8
NAMES = {"bookworm-arm64": BOARD.name}
"""The emulated board is an x86-64 and needs other wheels."""
CARD = {
    "card=hw:sndrpihifiberry": "card=hw:0 block_frames=512 periods=3 "
    "capture_channels=2 playback_channels=2"
}
"""For the reason see images.SETTINGS."""
Add = Callable[..., None]
# On x86 nverb does not require lgpio. gpiozero reads the model of the Raspberry Pi from
# /proc/cpuinfo.
AFTER_INSTALL = (
    "/opt/nverb/current/bin/pip install -q --no-index "
    f"--find-links /home/{images.PLAYER}/{BOARD.name} lgpio && "
    "mount --bind /etc/pedal-cpuinfo /proc/cpuinfo && udevadm trigger && udevadm settle"
)


def disk() -> Path:
    """A disk with Debian but no nverb: writable, with a user who may use sudo, like a new card."""
    layers = [images.guest_root(BOARD), images.base(BOARD)]
    sudoers = f"{images.PLAYER} ALL=(ALL) NOPASSWD: ALL\n"

    def make(target: Path) -> None:
        with (
            tempfile.TemporaryDirectory(dir=cache.folder()) as upper,
            images.layered(*layers, upper=Path(upper)) as root,
        ):
            (root / "etc/sudoers.d/player").write_text(sudoers)
            (root / "etc/fstab").write_text("")
            images.write_disk(root, target / "disk.img", data_mib=16, slack_mib=SPACE_MIB)

    return (
        cache.made(f"blank-{BOARD.name}", [p.name for p in layers] + [sudoers, SPACE_MIB], make)
        / "disk.img"
    )


def check(report: Report) -> None:
    def add(what: str, figure: object, bar: str = "", *, ok: bool = True) -> None:
        report.add("guide", BOARD.arch, what, figure, bar, ok=ok)

    blocks = guide_doc.blocks()
    to_sound = guide_doc.commands_to_sound(blocks)
    add(
        "commands from a blank card to sound",
        to_sound,
        f"<= {MOST_COMMANDS}",
        ok=to_sound <= MOST_COMMANDS,
    )
    with Guest(BOARD, name="guide", base=disk(), writable_root=True) as guest:
        guest.boot()
        with desk(guest) as environment:
            for block in blocks:
                if block.mark == "desk":
                    run_on_desk(adapted(block.script, NAMES), environment)
                elif block.mark == "board":
                    _follow(guest, block.script)
                else:
                    continue
                if guide_doc.CHOOSES in block.script:
                    guest.wait_for_sound()
                add(
                    f"line {block.line}: {block.script.splitlines()[0][:34]}",
                    f"done [{block.mark}]",
                    "status 0",
                )
        _outcome(guest, add)
    skipped = sum(block.mark == "not run" for block in blocks)
    add("blocks marked [not run]", f"{skipped} of {len(blocks)}")


def _follow(guest: Guest, script: str) -> None:
    """Run a block of [board] in a new session, in which new groups of the user are active."""
    words = {theirs: ours for theirs, ours in (NAMES | CARD).items() if theirs in script}
    guest.forget_connections()
    said = guest.run(f"set -e\n{adapted(script, words)}", user=images.PLAYER)
    if "make install" in script:
        guest.run(AFTER_INSTALL)
    if "board picture" in script:
        if guest.get(f"/home/{images.PLAYER}/wiring.svg") != PICTURE.read_bytes():
            raise GuestError(f"the picture differs from docs/{PICTURE.name}")
        table = "\n".join(line for line in said.splitlines() if line.startswith("|"))
        if not table or table not in guide_doc.DOCUMENT.read_text():
            raise GuestError("the table of the wiring differs from that of docs/board.md")


def _outcome(guest: Guest, add: Add) -> None:
    """Check what the document promises: sound, now and after each power-on."""
    for when in ("now", "after a power-on"):
        if when != "now":
            guest.run("sync")
            guest.cut_power()
            guest.boot()
        guest.wait_for_sound()
        units = guest.run(
            "systemctl is-active nverb-jack nverb-audio nverb-control", check=False
        ).split()
        add(
            f"{when}: JACK, audio and control unit",
            " ".join(units),
            "active",
            ok=units == ["active"] * 3,
        )
        knobs = "no fault" in guest.run("nverb status")
        add(
            f"{when}: five pots, four switches",
            "no fault" if knobs else "FAULT",
            "no fault",
            ok=knobs,
        )
        count, good = farend.dropouts(guest)
        add(f"{when}: dropouts in a pilot tone", count, "0", ok=good)
    settings = guest.run("nverb settings show")
    kept = 'profile = "pi-mcp3008"' in settings and 'card = "hw:Loopback"' in settings
    add("the chosen settings", "kept" if kept else "lost", "kept", ok=kept)


@contextmanager
def desk(guest: Guest | None = None) -> Iterator[dict[str, str]]:
    """Environment variables for a block of [desk].

    ssh reaches the guest as `pedal.local`; `sudo` only runs its command, as the test is root.
    """
    with tempfile.TemporaryDirectory(prefix="nverb-desk-") as scratch:
        folder = Path(scratch)
        tools = {"sudo": 'exec "$@"'}
        if guest is not None:
            options = {
                "HostName": "127.0.0.1",
                "Port": guest.port,
                "User": images.PLAYER,
                "IdentityFile": images.key(),
                "StrictHostKeyChecking": "no",
                "UserKnownHostsFile": "/dev/null",
                "LogLevel": "ERROR",
            }
            lines = "".join(f"  {name} {value}\n" for name, value in options.items())
            (folder / "config").write_text(f"Host pedal.local\n{lines}")
            tools |= {
                tool: f'exec {shutil.which(tool)} -F {folder}/config "$@"'
                for tool in ("ssh", "scp")
            }
        for name, line in tools.items():
            (folder / name).write_text(f"#!/bin/sh\n{line}\n")
            (folder / name).chmod(0o755)
        yield os.environ | {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "NVERB_ACCEPTANCE_CACHE": str(cache.folder()),
        }


def run_on_desk(script: str, environment: dict[str, str]) -> None:
    """Run a block of [desk] in the checkout. Raises GuestError."""
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise GuestError(f"on the desk: {script.splitlines()[0]}: status {done.returncode}: {last}")
