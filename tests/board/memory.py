"""memory: what a board of 512 MB gives, and that one of 256 MB still plays. On aarch64, as boards are."""

from __future__ import annotations

import boot
import farend
from debian import Platform
from guest import Guest
from report import Report

ARM = Platform("arm64", "bookworm")
BAR_MIB = 200


def check(report: Report) -> None:
    for memory_mib in (512, 256):
        with Guest(ARM, name=f"{memory_mib} MB", memory_mib=memory_mib) as guest:
            guest.boot(timeout_s=1800)
            guest.wait_for_sound()
            guest.run("sleep 3")
            used = boot.resident_mib(guest)
            figure = f"{used['pss']:.0f} MiB (each process's own: {used['rss']:.0f} MiB)"
            report.add(
                "memory",
                "arm64",
                f"{memory_mib} MB: JACK, audio and control",
                figure,
                f"<= {BAR_MIB} MiB",
                ok=used["pss"] <= BAR_MIB,
            )
            guest.run("nverb set gain=0 mix=0 limiter=off")
            with farend.PilotTone(guest) as tone:
                guest.run("sleep 3; nverb set x=8; sleep 3")
            found = tone.listen()
            good = not found.breaks_s and found.last_s - found.first_s > 4
            report.add(
                "memory", "arm64", f"{memory_mib} MB: dropouts in a pilot tone", len(found.breaks_s), "0", ok=good
            )
            killed = guest.run("dmesg | grep -ci 'out of memory' || true").strip()
            report.add("memory", "arm64", f"{memory_mib} MB: killed for memory", killed, "0", ok=killed == "0")
