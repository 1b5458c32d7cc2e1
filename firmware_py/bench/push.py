"""`nverb bench push`: time from the arrival of a bank or model until its room plays."""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from firmware_py.base.progress import Report
from firmware_py.bench.parts import Parts
from firmware_py.jack.defaults import BLOCK_FRAMES, RATE_HZ

if TYPE_CHECKING:
    from dsp.energymap import EnergyMap

BAR_MS = 1000.0
GIVE_UP_S = 20.0


class Push(TypedDict):
    """One installation. stages_ms: time of each stage, in order."""

    bytes: int
    ms: float
    cpu_ms: float
    """Processor time of installer and control process."""
    stages_ms: dict[str, float]


class PushSummary(TypedDict):
    """All installations of a kind: medians, the longest time, and each time."""

    bytes: int
    count: int
    median_ms: float
    worst_ms: float
    ms: list[float]
    cpu_ms: float
    stages_ms: dict[str, float]


class PushFigures(TypedDict):
    bar_ms: float
    block_frames: int
    python_start_ms: float
    blocks: int
    late_blocks: int
    bank: PushSummary
    model: PushSummary


def add_parser(parts: Parts) -> None:
    parser = parts.add_parser(
        "push",
        help="install a bank and a model on a playing pedal: time until the new room plays",
        description="Runs a separate pedal with its own store on JACK's dummy driver and installs "
        "banks and models over its socket, as `nverb install` and `nverb push` do. Measures from "
        "the last byte sent to the first block of the new room. On a busy machine, look at the "
        "processor time of installer and control process.",
    )
    parser.add_argument(
        "--turns", type=int, default=7, help="installations of each kind (default: %(default)s)"
    )
    parser.add_argument(
        "--block", type=int, default=BLOCK_FRAMES, help="frames per block (default: %(default)s)"
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
    for kind, row in (("bank", figures["bank"]), ("model", figures["model"])):
        stages = ", ".join(f"{name} {row['stages_ms'][name]:.0f}" for name in row["stages_ms"])
        print(
            f"{kind:5} of {row['bytes'] / 1e6:4.1f} MB   arrival -> new room "
            f"{row['median_ms']:.0f} ms median, {row['worst_ms']:.0f} ms maximum of {row['count']} "
            f"(bar {BAR_MS:.0f}), processor time {row['cpu_ms']:.0f} ms; "
            f"medians by stage: {stages}"
        )
    print(
        f"late blocks              {figures['late_blocks']} of {figures['blocks']}; "
        f"start of Python alone: {figures['python_start_ms']:.0f} ms"
    )
    return 0


def measure(*, turns: int, block_frames: int) -> PushFigures:
    """Raises UserError if the pedal rejects a file or does not play its room."""
    from bank.build import build
    from firmware_py.desk.private_pedal import private_data, private_pedal, wait_for_room
    from firmware_py.link.client import ask
    from models.decoder import SHIPPED

    begun = time.monotonic()
    os.waitpid(os.posix_spawnp("python3", ["python3", "-c", ""], os.environ), 0)
    start_ms = 1000 * (time.monotonic() - begun)
    banks: list[Push] = []
    models: list[Push] = []
    with (
        private_data() as folder,
        private_pedal(block_frames=block_frames, rate_hz=RATE_HZ, synchronous=False) as pedal,
    ):
        before = wait_for_room(pedal)["audio"]
        values = ask({"do": "get"})["values"]
        for turn in range(turns):
            # As large as the shipped bank; each has different rooms.
            bank = folder / f"bank{turn}.nvbank"
            build(bank, functools.partial(_room, 1.0 + turn), steps=10, name=bank.stem)
            banks.append(_install(bank, values))
            models.append(_install(SHIPPED / "decoder.nvmodel", values))
            _ask_store({"do": "rollback", "kind": "model"})
            _ask_store({"do": "remove", "name": "decoder"})  # otherwise the next one is not sent
        after = ask({"do": "status"})["status"]["audio"]
    assert before is not None
    return {
        "bar_ms": BAR_MS,
        "block_frames": block_frames,
        "python_start_ms": start_ms,
        "blocks": after["blocks"] - before["blocks"],
        "late_blocks": after["late_blocks"] - before["late_blocks"],
        "bank": _summary(banks),
        "model": _summary(models),
    }


def _summary(rows: list[Push]) -> PushSummary:
    times = [row["ms"] for row in rows]
    return {
        "bytes": rows[0]["bytes"],
        "count": len(times),
        "median_ms": statistics.median(times),
        "worst_ms": max(times),
        "ms": times,
        "cpu_ms": statistics.median(row["cpu_ms"] for row in rows),
        "stages_ms": {
            name: statistics.median(row["stages_ms"][name] for row in rows)
            for name in rows[0]["stages_ms"]
        },
    }


class _StageClock(Report):
    """Notes when each stage begins, for `sending` when it ends. control: its process's PID."""

    def __init__(self, control: int) -> None:
        self.began_ns: dict[str, int] = {}
        self.cpu_ms = 0.0
        self._control = control

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage != "sending" or done == total:
            self.began_ns.setdefault(stage, time.monotonic_ns())
            if stage == "sending":
                self.cpu_ms = _cpu_ms(self._control)


def _install(path: Path, values: dict[str, float]) -> Push:
    """Install a file and wait until its room plays. Raises UserError."""
    from dsp.errors import UserError
    from firmware_py.install import desk_end
    from firmware_py.link.client import ask
    from firmware_py.link.mailbox import Mailbox
    from firmware_py.rooms.maker import RoomMaker
    from firmware_py.rooms.source import find_source

    control = ask({"do": "status"})["status"]["control"]["pid"]
    mailbox = Mailbox()
    mailbox.refresh()
    port = mailbox.port
    assert port is not None
    maker = RoomMaker(find_source(path), port.rate_hz, port.max_taps, port.inputs)
    expected = maker.fingerprint(values)
    serial = port.meters().playing_serial
    clock = _StageClock(control)
    file = os.open(path, os.O_RDONLY)
    try:
        content = desk_end.Content.of(file, lambda *_: None)
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
                f"{path.name}: installed, but its room did not play within {GIVE_UP_S:g} s; "
                "see the pedal's log"
            )
        time.sleep(0.001)
    return _times(clock, path.stat().st_size, port.meters().playing_since_ns, _cpu_ms(control))


def _times(clock: _StageClock, size: int, sounds_ns: int, cpu_ms: float) -> Push:
    marks = {
        "receive": clock.began_ns["sending"],
        "verify": clock.began_ns["verifying"],
        "try": clock.began_ns["trying"],
        "switch": clock.began_ns["switching"],
        "end": sounds_ns,
    }
    return {
        "bytes": size,
        "ms": (sounds_ns - marks["receive"]) / 1e6,
        "cpu_ms": cpu_ms - clock.cpu_ms,
        "stages_ms": {
            name: (marks[later] - marks[name]) / 1e6 for name, later in itertools.pairwise(marks)
        },
    }


def _cpu_ms(pid: int) -> float:
    """Processor time of the control process and its children, ended ones included, in ms."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for one in (str(pid), *children):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return 1000 * ticks / os.sysconf("SC_CLK_TCK")


def _ask_store(request: dict[str, object]) -> None:
    """Send a request to the store of the running pedal. Raises UserError."""
    from firmware_py.install import desk_end

    with desk_end.board() as channel:
        assert channel is not None
        desk_end.deliver(channel, request, Report())
