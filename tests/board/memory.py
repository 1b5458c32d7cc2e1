"""memory: what is used and free with 512 MB, and that 256 MB suffice. On aarch64, like boards."""

from __future__ import annotations

import json

import boot
import farend
from debian import Platform
from guest import Guest, GuestError
from report import Report

BAR_MIB = 200


def check(report: Report, platform: Platform) -> None:
    for memory_mib in (512, 256):
        try:
            _check(report, platform, memory_mib)
        except GuestError as error:  # still test the other size
            report.add(
                "memory",
                platform.arch,
                f"{memory_mib} MB: goes through",
                str(error)[:200],
                "no error",
                ok=False,
            )


def _check(report: Report, platform: Platform, memory_mib: int) -> None:
    def add(what: str, figure: object, bar: str = "", *, ok: bool = True) -> None:
        report.add("memory", platform.arch, f"{memory_mib} MB: {what}", figure, bar, ok=ok)

    with Guest(platform, name=f"{memory_mib} MB", memory_mib=memory_mib) as guest:
        guest.boot()
        guest.wait_for_sound()
        guest.run("nverb set gain=0 mix=0 limiter=off")
        with farend.PilotTone(guest) as tone:
            # Rooms of all lengths, and commands, which also need memory.
            guest.run(
                "sleep 2; for n in 1 8 3 9; do nverb set x=$n y=$n; sleep 1; done; "
                "nverb doctor >/dev/null || true; sleep 1"
            )
        found = tone.listen()
        good = not found.breaks_s and found.last_s - found.first_s > 4
        add("dropouts in a pilot tone", len(found.breaks_s), "0", ok=good)
        audio = guest.status()["audio"]
        add("late blocks since power-on", f"{audio['late_blocks']} of {audio['blocks']}")
        # Measured after use: the memory for making rooms has been allocated.
        used = boot.resident_mib(guest)
        figure = f"{used['pss']:.0f} MiB (each process's own: {used['rss']:.0f} MiB)"
        add("JACK, audio and control", figure, f"<= {BAR_MIB} MiB", ok=used["pss"] <= BAR_MIB)
        seen = json.loads(guest.run("nverb bench memory --service --json"))
        for unit, kinds in seen["processes"].items():
            parts = ", ".join(f"{kind} {mib:.0f}" for kind, mib in kinds.items() if mib >= 0.5)
            add(f"{unit}, MiB", parts)
        spare = guest.run(
            "awk '/^(MemAvailable|SwapTotal|SwapFree):/ {print $2}' /proc/meminfo"
        ).split()
        available, swap, unswapped = (int(kib) / 1024 for kib in spare)
        add(
            "available memory",
            f"{available:.0f} MiB; swapped: {swap - unswapped:.0f} of {swap:.0f} MiB",
        )
        killed = guest.run("dmesg | grep -ci 'out of memory' || true").strip()
        add("processes killed for memory", killed, "0", ok=killed == "0")
