"""push: install over ssh with a key, as a user without privileges, while the pedal plays."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cache
import farend
import guest as guests
import images
from guest import Guest
from report import Report

# The board's 5 s between two signs of life are of its own clock, which is slower on a busy machine.
PATIENT = """
import sys
from firmware_py.install import desk_end
desk_end.SILENCE_S = desk_end.REPLY_S
from firmware_py.cli import main
sys.exit(main())
"""


def nverb(*words: str, data: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run this checkout's nverb on this machine, which is the desk."""
    environment = os.environ | {"NVERB_DATA_DIR": str(data), "PYTHONPATH": str(cache.REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", PATIENT, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        check=False,
        timeout=guests.PATIENCE_S,
    )
    if check and done.returncode:
        raise AssertionError(f"nverb {' '.join(words)}: {done.stderr.strip().splitlines()[-1:]}")
    return done


def check(guest: Guest, report: Report) -> None:
    board = guest.platform.arch

    def add(what: str, figure: object, bar: str = "", *, ok: bool = True) -> None:
        report.add("push", board, what, figure, bar, ok=ok)

    with tempfile.TemporaryDirectory() as scratch:
        desk = Path(scratch)
        config = desk / "ssh_config"
        config.write_text(
            f"Host board\n HostName 127.0.0.1\n Port {guest.port}\n User {images.PLAYER}\n"
            f" IdentityFile {images.key()}\n"
            " StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n"
            " Ciphers aes128-ctr\n KexAlgorithms curve25519-sha256\n"
        )
        to = ("-F", str(config), "board")
        for number in (1, 2):
            nverb(
                "bank",
                "build",
                "-o",
                str(desk / f"rooms{number}.nvbank"),
                "--grid",
                f"{4 + number}",
                data=desk,
            )
        presets = desk / "tour.json"

        def playing() -> str:
            return str(guest.status()["room"]["path"]).partition("@")[0]

        # Push rooms1 before the tone; push rooms2 and roll back during it.
        nverb("push", *to, "bank", str(desk / "rooms1.nvbank"), data=desk)
        add("bank pushed, as an unprivileged user", playing(), "rooms1", ok=playing() == "rooms1")
        guest.run("nverb set gain=0 mix=30 limiter=off bypass=off")
        with farend.PilotTone(guest) as tone:
            done = nverb("push", *to, "bank", str(desk / "rooms2.nvbank"), data=desk)
            second = playing()
            nverb_rollback = guest.run("nverb rollback bank", user=images.PLAYER)
            third = playing()
            guest.run("nverb preset save tour", user=images.PLAYER)
            guest.run("sleep 1")
        found = tone.listen()
        add(
            "pushed again while it plays",
            f"{second}: {done.stdout.strip()[:60]}",
            "rooms2",
            ok=second == "rooms2",
        )
        add("rollback", f"{third}: {nverb_rollback.strip()[:60]}", "rooms1", ok=third == "rooms1")
        add(
            "meanwhile: clicks and gaps in the pilot tone",
            len(found.breaks_s),
            "0",
            ok=not found.breaks_s,
        )

        guest.run("nverb use rooms2")
        since = guest.wait("nverb status --json | grep -q rooms2", timeout_s=5, what="rooms2 plays")
        add("live after arrival", f"{since:.2f} s", "<= 1 s", ok=since <= 1)

        exported = guest.run("cat /var/lib/nverb/presets.json", check=False)
        if exported:
            presets.write_text(exported)
            done = nverb("push", *to, "preset", str(presets), data=desk, check=False)
            words = (done.stdout or done.stderr).strip()[-80:]
            add("preset pushed", words, "taken", ok=done.returncode == 0)

        # Damaged and unsigned files must be refused, and the old bank must play on.
        whole = (desk / "rooms1.nvbank").read_bytes()
        at = len(whole) // 2
        damaged = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        for what, content in (
            ("one flipped bit", damaged),
            ("cut short", whole[:at]),
            ("garbage", os.urandom(100_000)),
        ):
            line = guest.fails("nverb install - --name bad", stdin=content, user=images.PLAYER)
            add(f"refused: {what}", line[:90], "one line, old bank plays", ok=playing() == "rooms2")
        _signatures(guest, desk, to, add)
        _deal_with_model(guest, desk, to, add)


def _signatures(guest: Guest, desk: Path, to: tuple[str, ...], add: object) -> None:
    """Require signatures by one key: other files must be refused."""
    assert callable(add)
    for name in ("maker", "stranger"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(desk / name)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    public = (desk / "maker.pub").read_text().split()
    guest.run("mkdir /var/lib/nverb/trust")
    guest.put(f"maker {public[0]} {public[1]}\n".encode(), "/var/lib/nverb/trust/allowed_signers")
    file = str(desk / "rooms1.nvbank")
    unsigned = nverb("push", *to, "bank", file, data=desk, check=False)
    wrong = nverb(
        "push", *to, "bank", file, "--sign", str(desk / "stranger"), data=desk, check=False
    )
    right = nverb("push", *to, "bank", file, "--sign", str(desk / "maker"), data=desk, check=False)
    refused = unsigned.returncode != 0 and wrong.returncode != 0
    add(
        "signature required: none, a stranger's",
        f"{wrong.stderr.strip()[-70:]}",
        "both refused",
        ok=refused,
    )
    add(
        "signature required: the maker's",
        (right.stdout or right.stderr).strip()[-70:],
        "taken",
        ok=right.returncode == 0,
    )
    guest.run("rm -r /var/lib/nverb/trust")


def _deal_with_model(guest: Guest, desk: Path, to: tuple[str, ...], add: object) -> None:
    assert callable(add)
    models = sorted((cache.REPOSITORY / "models").rglob("*.nvmodel"))
    if not models:
        return
    done = nverb("push", *to, "model", str(models[0]), data=desk, check=False)
    words = (done.stdout or done.stderr).strip()[-80:]
    add("model pushed", words, "taken", ok=done.returncode == 0)
