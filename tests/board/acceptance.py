"""`make acceptance`: test the pedal on emulated boards. Needs root and Debian 12 or newer.

    python tests/board/acceptance.py                     everything
    python tests/board/acceptance.py --only sound,push   some scenarios
    python tests/board/acceptance.py --quick             one board, few power cuts: before a commit

| scenario | board        | file          | tests                                                  |
|----------|--------------|---------------|--------------------------------------------------------|
| boot     | amd64, arm64 | boot.py       | power-on to sound without a user                       |
| sound    | amd64, arm64 | sound.py      | dry and wet path exact, no dropout                     |
| cards    | amd64, arm64 | cards.py      | boot to sound: only one rate, two cards, a mute mixer  |
| hands    | amd64        | hands.py      | pots, switches, LEDs                                   |
| push     | amd64        | push.py       | installation over ssh while playing; refusal, rollback |
| faults   | amd64        | faults.py     | recovery of the sound after each fault                 |
| power    | amd64        | power.py      | kill -9 of the emulator at random moments              |
| memory   | arm64        | memory.py     | resident set with 512 MB; sound with 256 MB            |
| image    | amd64        | image_boot.py | the image of `nverb image`: boot, writes, power cuts   |
| guide    | amd64        | guide.py      | the commands of docs/board.md                          |

Scenarios that do not test booting start from a snapshot of the booted board. Disks and snapshots
are kept between runs; see cache.py.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import boot
import cache
import cards
import faults
import guest as guests
import guide
import hands
import image_boot
import images
import memory
import power
import push
import sound
from cache import Trouble
from debian import Platform
from guest import Guest, GuestError
from report import Report

X86 = Platform("amd64", "bookworm")
SCENARIOS = (
    "boot",
    "sound",
    "cards",
    "hands",
    "push",
    "faults",
    "power",
    "memory",
    "image",
    "guide",
)


_booted: set[Platform] = set()
"""Boards that this run booted to make their snapshot; the report contains that boot."""


def ready(platform: Platform, report: Report) -> Path:
    """A disk with a snapshot of the playing board. The first call boots a board (scenario boot)."""
    base = images.disk(platform)

    def make(target: Path) -> None:
        disk = guests.overlay(target / "ready.qcow2", base)
        with Guest(platform, name=f"{platform.arch} boot", disk=disk) as guest:
            guest.boot()
            boot.check(guest, report)
            _booted.add(platform)
            guest.forget_connections()
            guest.monitor("human-monitor-command", **{"command-line": "savevm ready"})

    return (
        cache.made(f"ready-{platform.name}", [base.parent.name, guests.ICOUNT_SHIFT], make)
        / "ready.qcow2"
    )


def on_ready(
    platform: Platform, check: Callable[[Guest, Report], None]
) -> Callable[[Report], None]:
    """The scenario `check`, started from the snapshot."""

    def scenario(report: Report) -> None:
        disk = ready(platform, report)
        with Guest(platform, name=platform.arch, disk=disk) as guest:
            # An overlay does not contain the snapshot, so this guest gets a copy of the disk.
            guest.disk = guests.copy(disk, guest.folder / "disk.qcow2")
            guest.start(load="ready")
            guest.wait_for_ssh()
            check(guest, report)

    return scenario


def fresh_boot(platform: Platform) -> Callable[[Report], None]:
    def scenario(report: Report) -> None:
        ready(platform, report)
        if platform in _booted:
            return
        with Guest(platform, name=platform.arch) as guest:
            guest.boot()
            boot.check(guest, report)

    return scenario


def plan(args: argparse.Namespace) -> list[tuple[str, str, Callable[[Report], None]]]:
    """Scenario, board and work, in order.

    First the boots that others wait for, one worker for each board; then the longest scenarios, so
    that both workers finish at about the same time.
    """
    x86, arm = Platform("amd64", args.suite), Platform("arm64", args.suite)
    work: list[tuple[str, str, Callable[[Report], None]]] = []

    def add(scenario: str, platform: Platform, what: Callable[[Report], None]) -> None:
        if scenario in args.only and platform.arch in args.boards:
            work.append((scenario, platform.arch, what))

    def add_cuts(part: int, parts: int) -> None:
        begin, end = args.cuts * part // parts, args.cuts * (part + 1) // parts
        if begin < end:
            add("power", X86, lambda report: power.check(end - begin, args.seed + begin, report))

    boards = [x86] if args.quick else [x86, arm]
    for platform in boards:
        add("boot", platform, fresh_boot(platform))
    all_scenarios = args.suite == X86.suite
    parts = max(1, args.cuts // 10)
    if all_scenarios:
        add_cuts(0, parts)
    if all_scenarios and not args.quick:
        add("image", X86, image_boot.check)
        add("guide", X86, guide.check)
    if not args.quick:
        add("memory", arm, lambda report: memory.check(report, arm))
    add("faults", x86, on_ready(x86, faults.check))
    for part in range(1, parts) if all_scenarios else ():
        add_cuts(part, parts)
    for platform in boards:
        add("cards", platform, on_ready(platform, cards.check))
    add("push", x86, on_ready(x86, push.check))
    add("hands", x86, on_ready(x86, hands.check))
    for platform in reversed(boards):
        add("sound", platform, on_ready(platform, sound.check))
    if all_scenarios:
        add("power", X86, power.check_lost)
    return work


def main() -> int:
    parser = argparse.ArgumentParser(description="The pedal on emulated boards.")
    parser.add_argument(
        "--only",
        default=",".join(SCENARIOS),
        help=f"of {', '.join(SCENARIOS)}; several with commas",
    )
    parser.add_argument("--boards", default="amd64,arm64", help="amd64, arm64 or both (default)")
    parser.add_argument(
        "--suite",
        choices=("bookworm", "trixie"),
        default=X86.suite,
        help="Debian release of the boards (default: %(default)s; "
        "trixie: Python 3.13, without image, guide and power)",
    )
    parser.add_argument("--quick", action="store_true", help="one board, four power cuts")
    parser.add_argument("--cuts", type=int, help="power cuts (default: 40)")
    parser.add_argument(
        "--seed",
        type=int,
        default=random.randrange(10**6),
        help="seed of the times of the power cuts",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(2, os.cpu_count() or 1),
        help="number of guests at a time (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result to FILE")
    args = parser.parse_args()
    args.only, args.boards = args.only.split(","), args.boards.split(",")
    unknown = [name for name in args.only if name not in SCENARIOS] + [
        b for b in args.boards if b not in ("amd64", "arm64")
    ]
    if unknown:
        parser.error(f"{unknown[0]}: there are {', '.join(SCENARIOS)} and the boards amd64, arm64")
    if args.cuts is None:
        args.cuts = 4 if args.quick else 40
    if os.geteuid() != 0:
        print(
            "acceptance: needs root, to set the owners of files in disk images: "
            "sudo make acceptance",
            file=sys.stderr,
        )
        return 1
    # After SIGTERM no emulator may keep running: see guest._leave_none_behind.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    report = Report()
    try:
        guests.require_emulators()
        _work(plan(args), args.jobs, report)
    except Trouble as trouble:
        print(f"acceptance: {trouble}", file=sys.stderr)
        return 1
    print(f"\n{report.table()}")
    if "power" in args.only:
        print(f"power cuts: --seed {args.seed} repeats them")
    if args.json:
        args.json.write_text(json.dumps(report.json() | {"seed": args.seed}, indent=1) + "\n")
    return 0 if report.ok else 1


def _work(work: list[tuple[str, str, Callable[[Report], None]]], jobs: int, report: Report) -> None:
    """Do all work in `jobs` threads. A failure is a row of the table; only Trouble ends the run."""
    waiting: queue.SimpleQueue[tuple[str, str, Callable[[Report], None]]] = queue.SimpleQueue()
    for item in work:
        waiting.put(item)
    trouble: list[Trouble] = []
    done = 0

    def worker() -> None:
        nonlocal done
        while not trouble:
            try:
                scenario, board, check = waiting.get_nowait()
            except queue.Empty:
                return
            cache.say(f"{scenario} on {board} ({done} of {len(work)} done)")
            begun = time.monotonic()
            try:
                check(report)
            except Trouble as error:
                trouble.append(error)
            except GuestError as error:
                report.add(scenario, board, "goes through", str(error)[:200], "no error", ok=False)
            except Exception as error:  # a bug in a test: show it, continue with the others
                traceback.print_exc()
                report.add(scenario, board, "goes through", repr(error)[:200], "no error", ok=False)
            key = f"{scenario} {board}"
            report.seconds[key] = report.seconds.get(key, 0) + time.monotonic() - begun
            done += 1

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if trouble:
        raise trouble[0]


if __name__ == "__main__":
    sys.exit(main())
