"""`nverb bench soak`: a pedal in use for a long time, and what grows.

Every turn does one thing at random that a player or builder does: knobs, presets with other banks,
a bank pushed, a reload, a controller over MIDI, a question. Once a minute it looks at memory,
descriptors, threads, shared memory and late blocks. The same seed gives the same turns.
"""

from __future__ import annotations

import functools
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from bank.build import build
from device.controls import CONTROLS, defaults
from dsp.energymap import EnergyMap
from dsp.errors import UserError
from firmware_py.base.paths import data_dir, runtime_dir
from firmware_py.base.process import nverb_command
from firmware_py.bench.pedal import resident_mb
from firmware_py.desk.player import play_blocks
from firmware_py.desk.private_pedal import private_data, private_pedal, wait_for_room
from firmware_py.link.client import ask
from firmware_py.state.presets import Presets
from models.generator import room_at

LOOK_S = 60.0
TURN_S = 0.05
PRESETS = 6
BANKS = 3
SEED = 1


class Look(NamedTuple):
    """One look at the running pedal."""

    minutes: float
    turns: int
    control_mb: float
    audio_mb: float
    descriptors: int
    threads: int
    shared_mb: float
    late_blocks: int


class _Controller:
    """A JACK client with one MIDI output."""

    def __init__(self) -> None:
        import jack

        server = os.environ["JACK_DEFAULT_SERVER"]
        self._client = jack.Client("nverb-soak", servername=server, no_start_server=True)
        self._out: Any = self._client.midi_outports.register("out")
        self._next: list[bytes] = []
        play_blocks(self._client, self._play)
        self._client.activate()

    def send(self, message: bytes) -> None:
        self._next = [message]

    def _play(self, _frames: int) -> None:
        self._out.clear_buffer()
        for message in self._next:
            self._out.write_midi_event(0, message)
        self._next = []

    def close(self) -> None:
        self._client.deactivate()
        self._client.close()


class Soak:
    """What is done to the pedal, and what was counted."""

    def __init__(self, folder: Path) -> None:
        self.turns = 0
        self.refused = 0
        self._folder = folder
        self._random = random.Random(SEED)
        self._controller = _Controller()
        self._install: subprocess.Popen[bytes] | None = None
        banks = [self._bank(f"place{number}") for number in range(BANKS)]
        presets = Presets(data_dir())
        for number in range(PRESETS):
            values = defaults() | {"x": 1.5 * number, "decay": 1.0}
            presets.save(f"preset {number}", values, str(banks[number % BANKS]))
        self._acts = (
            *[self._turn_knobs] * 8,
            *[self._play_preset] * 3,
            *[self._send_controller] * 3,
            self._push_bank,
            self._reload,
            self._read_status,
        )

    def turn(self) -> None:
        """Do one thing. What the pedal refuses for the moment is counted, not an error."""
        self.turns += 1
        try:
            self._random.choice(self._acts)()
        except UserError:
            self.refused += 1

    def look(self, begun: float) -> Look:
        status = ask({"do": "status"})["status"]
        control, audio = status["control"]["pid"], status["audio"]
        return Look(
            minutes=(time.monotonic() - begun) / 60,
            turns=self.turns,
            control_mb=resident_mb(control)["own"],
            audio_mb=resident_mb(audio["pid"])["own"],
            descriptors=len(os.listdir(f"/proc/{control}/fd")),
            threads=len(os.listdir(f"/proc/{control}/task")),
            shared_mb=sum(
                path.stat().st_blocks * 512 for path in runtime_dir().iterdir() if path.is_file()
            )
            / 1e6,
            late_blocks=audio["late_blocks"],
        )

    def close(self) -> None:
        self._controller.close()
        if self._install is not None:
            self._install.wait()

    def _bank(self, name: str) -> Path:
        """A small bank of rooms that no earlier one has."""
        path = self._folder / f"{name}.nvbank"
        build(path, functools.partial(_room, self._random.uniform(1.0, 2.0)), steps=2, name=name)
        return path

    def _turn_knobs(self) -> None:
        chosen = self._random.sample([row for row in CONTROLS if row.target != "pedal"], 3)
        values = {row.name: self._random.uniform(row.minimum, row.maximum) for row in chosen}
        ask({"do": "set", "values": values})

    def _play_preset(self) -> None:
        ask({"do": "preset", "load": f"preset {self._random.randrange(PRESETS)}"})

    def _send_controller(self) -> None:
        controller = self._random.choice([row.cc for row in CONTROLS if row.cc is not None])
        self._controller.send(bytes((0xB0, controller, self._random.randrange(128))))

    def _push_bank(self) -> None:
        if self._install is None or self._install.poll() is not None:
            path = self._bank(f"pushed{self._random.randrange(BANKS)}")
            self._install = subprocess.Popen(
                nverb_command("install", str(path)),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def _reload(self) -> None:
        ask({"do": "reload"})

    def _read_status(self) -> None:
        ask({"do": "status"})


def measure(*, hours: float, show: bool) -> dict[str, object]:
    """All looks, and the growth after the first. Raises UserError."""
    arguments = ("--profile", "none", "--midi", "jack")
    looks: list[Look] = []
    with (
        private_data(),
        tempfile.TemporaryDirectory(prefix="nverb-soak-") as banks,
        private_pedal(control_arguments=arguments, synchronous=False, as_service=True) as pedal,
    ):
        wait_for_room(pedal)
        soak, begun = Soak(Path(banks)), time.monotonic()
        if show:
            print("minutes    turns  control MB  audio MB  descriptors  threads  shared MB  late")
        try:
            while time.monotonic() - begun < 3600 * hours:
                next_look = time.monotonic() + LOOK_S
                while time.monotonic() < next_look:
                    soak.turn()
                    pedal.tend()
                    time.sleep(TURN_S)
                looks.append(soak.look(begun))
                if show:
                    _print_look(looks[-1])
        finally:
            soak.close()
    figures = {"looks": [look._asdict() for look in looks], "refused": soak.refused}
    return figures | growth(looks)


def growth(looks: list[Look]) -> dict[str, object]:
    """Growth from the first look to the last."""
    first, last = looks[0], looks[-1]
    return {
        "control_percent": 100 * (last.control_mb / first.control_mb - 1),
        "audio_percent": 100 * (last.audio_mb / first.audio_mb - 1),
        "descriptors": last.descriptors - first.descriptors,
        "threads": last.threads - first.threads,
    }


def _print_look(look: Look) -> None:
    print(
        f"{look.minutes:7.1f}{look.turns:9}{look.control_mb:12.1f}{look.audio_mb:10.1f}"
        f"{look.descriptors:13}{look.threads:9}{look.shared_mb:11.1f}{look.late_blocks:6}",
        flush=True,
    )


def _room(part: float, x: float, y: float, z: float) -> EnergyMap:
    return room_at(x / part, y / part, z / part)
