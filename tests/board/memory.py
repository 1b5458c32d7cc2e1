"""memory: what a board of 512 MB gives, and that one of 256 MB still plays. On aarch64, as boards are."""

from __future__ import annotations

import json

import boot
import farend
from debian import Platform
from guest import Guest
from report import Report

BAR_MIB = 200


def check(report: Report, platform: Platform) -> None:
    for memory_mib in (512, 256):
        with Guest(platform, name=f"{memory_mib} MB", memory_mib=memory_mib) as guest:
            guest.boot(timeout_s=1800)
            guest.wait_for_sound()
            guest.run("nverb set gain=0 mix=0 limiter=off")
            with farend.PilotTone(guest) as tone:
                guest.run("sleep 3; nverb set x=8; sleep 3")
            found = tone.listen()
            good = not found.breaks_s and found.last_s - found.first_s > 4
            report.add(
                "memory", platform.arch, f"{memory_mib} MB: dropouts in a pilot tone", len(found.breaks_s), "0", ok=good
            )
            # After use: rooms were made, and what rooms to come need is there.
            used = boot.resident_mib(guest)
            report.add(
                "memory",
                platform.arch,
                f"{memory_mib} MB: JACK, audio and control",
                f"{used['pss']:.0f} MiB (each process's own: {used['rss']:.0f} MiB)",
                f"<= {BAR_MIB} MiB",
                ok=used["pss"] <= BAR_MIB,
            )
            seen = json.loads(guest.run("nverb bench memory --service --json"))
            for unit, kinds in seen["processes"].items():
                parts = ", ".join(f"{kind} {mib:.0f}" for kind, mib in kinds.items() if mib >= 0.5)
                report.add("memory", platform.arch, f"{memory_mib} MB: {unit}, MiB", parts)
            killed = guest.run("dmesg | grep -ci 'out of memory' || true").strip()
            report.add("memory", platform.arch, f"{memory_mib} MB: killed for memory", killed, "0", ok=killed == "0")
