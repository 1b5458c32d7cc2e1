"""`nverb bench push`: how long a bank and a model take from their arrival until they sound, on a pedal that plays."""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsp.energymap import EnergyMap

BAR_MS = 1000.0
RATE_HZ = 48000
GIVE_UP_S = 20.0


def add_parser(parts: Any) -> None:
    parser = parts.add_parser(
        "push",
        help="a bank and a model installed on a pedal that plays: from arrival to the new room",
        description="Runs a pedal of its own on JACK's dummy driver, with a store of its own, and hands banks and models to it over its "
        "socket, as `nverb install` and `nverb push` do. Time counts from the last byte's departure until the block in which the new "
        "room begins to sound. On a machine that has other work look at the processor time: that of the installer and the control process.",
    )
    parser.add_argument(
        "--turns", type=int, default=7, help="banks, and as often the model (default: %(default)s)"
    )
    parser.add_argument(
        "--block", type=int, default=128, help="frames in a block (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(handler=_push)


def _room(part: float, x: float, y: float, z: float) -> EnergyMap:
    from models.generator import room_at

    return room_at(x / part, -y, z)


def _push(args: argparse.Namespace) -> int:
    figures = measure(turns=args.turns, block_frames=args.block)
    if args.json:
        print(json.dumps(figures, indent=2))
        return 0
    for kind in ("bank", "model"):
        row = figures[kind]
        stages = ", ".join(f"{name} {row['stages_ms'][name]:.0f}" for name in row["stages_ms"])
        print(
            f"{kind:5} of {row['bytes'] / 1e6:4.1f} MB   arrival -> new room {row['median_ms']:.0f} ms median, {row['worst_ms']:.0f} ms at "
            f"most, of {row['count']} (bar {BAR_MS:.0f}), processor time {row['cpu_ms']:.0f} ms; medians by stage: {stages}"
        )
    print(
        f"late blocks meanwhile    {figures['late_blocks']} of {figures['blocks']}; the start of a bare Python takes "
        f"{figures['python_start_ms']:.0f} ms here and now"
    )
    return 0


def measure(*, turns: int, block_frames: int) -> dict[str, Any]:
    """Times in ms, by kind. Raises UserError if the pedal refuses, or does not play what it said it plays."""
    from bank.build import build
    from firmware_py.desk.private_pedal import private_pedal, wait_for_room
    from firmware_py.link.client import ask
    from models.decoder import SHIPPED

    begun = time.monotonic()
    os.waitpid(os.posix_spawnp("python3", ["python3", "-c", ""], os.environ), 0)
    start_ms = 1000 * (time.monotonic() - begun)
    pushes: dict[str, list[dict[str, Any]]] = {"bank": [], "model": []}
    with (
        _own_data() as folder,
        private_pedal(block_frames=block_frames, rate_hz=RATE_HZ, synchronous=False) as pedal,
    ):
        before = wait_for_room(pedal)["audio"]
        values = ask({"do": "get"})["values"]
        for turn in range(turns):
            # The size of the bank that comes with nverb; each has other rooms.
            bank = folder / f"bank{turn}.nvbank"
            build(bank, functools.partial(_room, 1.0 + turn), steps=10, name=bank.stem)
            pushes["bank"].append(_install(bank, values))
            pushes["model"].append(_install(SHIPPED / "decoder.nvmodel", values))
            _ask_store({"do": "rollback", "kind": "model"})
            _ask_store({"do": "remove", "name": "decoder"})  # so that the next one is sent again
        after = ask({"do": "status"})["status"]["audio"]
    figures: dict[str, Any] = {
        "bar_ms": BAR_MS,
        "block_frames": block_frames,
        "python_start_ms": start_ms,
        "blocks": after["blocks"] - before["blocks"],
        "late_blocks": after["late_blocks"] - before["late_blocks"],
    }
    for kind, rows in pushes.items():
        times = [row["ms"] for row in rows]
        stages = {
            name: statistics.median(row["stages_ms"][name] for row in rows)
            for name in rows[0]["stages_ms"]
        }
        figures[kind] = {
            "bytes": rows[0]["bytes"],
            "count": len(times),
            "median_ms": statistics.median(times),
            "worst_ms": max(times),
            "ms": times,
            "cpu_ms": statistics.median(row["cpu_ms"] for row in rows),
            "stages_ms": stages,
        }
    return figures


@contextmanager
def _own_data() -> Iterator[Path]:
    before = os.environ.get("NVERB_DATA_DIR")
    with tempfile.TemporaryDirectory(prefix="nverb-bench-") as folder:
        os.environ["NVERB_DATA_DIR"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("NVERB_DATA_DIR")
            if before is not None:
                os.environ["NVERB_DATA_DIR"] = before


def _install(path: Path, values: dict[str, float]) -> dict[str, Any]:
    """Hands a file to the pedal, and waits until its room sounds."""
    from dsp.errors import UserError
    from firmware_py.base.progress import Report
    from firmware_py.install import desk_end
    from firmware_py.link.client import ask
    from firmware_py.link.mailbox import Mailbox
    from firmware_py.rooms.maker import RoomMaker
    from firmware_py.rooms.source import find_source

    control = ask({"do": "status"})["status"]["control"]["pid"]

    class Clock(Report):
        def __init__(self) -> None:
            self.began_ns: dict[str, int] = {}
            self.cpu_ms = 0.0

        def progress(self, stage: str, done: int, total: int) -> None:
            if stage != "sending" or done == total:  # of what is sent, the end
                self.began_ns.setdefault(stage, time.monotonic_ns())
                if stage == "sending":
                    self.cpu_ms = _cpu_ms(control)

    mailbox = Mailbox()
    mailbox.refresh()
    port = mailbox.port
    assert port is not None
    expected = RoomMaker(find_source(path), port.rate_hz, port.max_taps, port.inputs).fingerprint(
        values
    )
    serial = port.meters().playing_serial
    file = os.open(path, os.O_RDONLY)
    try:
        content, clock = desk_end.Content.of(file, lambda *_: None), Clock()
        request = {
            "do": "install",
            "name": path.name,
            "size": content.size,
            "sha256": content.sha256,
        }
        with desk_end.board() as channel:
            assert channel is not None
            desk_end.deliver(channel, request, clock, content)
    finally:
        os.close(file)
    deadline = time.monotonic() + GIVE_UP_S
    while (
        port.newest_room() != expected
        or port.meters().playing_serial == serial
        or port.meters().fading
    ):
        if time.monotonic() > deadline:
            raise UserError(
                f"{path.name}: was installed, and its room did not sound within {GIVE_UP_S:g} s"
            )
        time.sleep(0.001)
    sounds_ns, cpu_ms = port.meters().playing_since_ns, _cpu_ms(control)
    arrived_ns = clock.began_ns["sending"]
    marks = {
        "receive": arrived_ns,
        "verify": clock.began_ns["verifying"],
        "try": clock.began_ns["trying"],
    }
    marks |= {"switch": clock.began_ns["switching"], "end": sounds_ns}
    return {
        "bytes": content.size,
        "ms": (sounds_ns - arrived_ns) / 1e6,
        "cpu_ms": cpu_ms - clock.cpu_ms,
        "stages_ms": {
            name: (marks[later] - marks[name]) / 1e6 for name, later in itertools.pairwise(marks)
        },
    }


def _cpu_ms(pid: int) -> float:
    """Processor time of the control process and of all its children so far, those that are gone included."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for one in (str(pid), *children):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(
            int(field) for field in fields[11:15]
        )  # utime, stime, and both of children that were waited for
    return 1000 * ticks / os.sysconf("SC_CLK_TCK")


def _ask_store(request: dict[str, Any]) -> None:
    from firmware_py.base.progress import Report
    from firmware_py.install import desk_end

    with desk_end.board() as channel:
        assert channel is not None
        desk_end.deliver(channel, request, Report())
