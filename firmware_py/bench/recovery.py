"""How long the sound is away after each fault that a pedal may meet, and whether the same room with the same knobs is back.

Measured on real processes by the audio process's own heartbeat in shared memory, which comes once a block. A gap is the time between
the last block before the fault and the first after it; for a fault in the control process there must be none. Each figure stands beside
the time that a bare start of the audio process takes on this machine just then: what of a gap is not that is noticing the fault.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from device.controls import find, to_position
from dsp import _engine
from dsp.errors import UserError
from firmware_py.base.paths import running_dir
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor
from firmware_py.link.client import ask

BAR_S = 3.0
GIVE_UP_S = 30.0
SETTLE_S = 6.0
"""Between two faults: longer than the crash guard takes to call a process well (crashguard.STABLE_S)."""
ROOM = {"x": 6.0, "y": 3.0, "z": 5.0, "width": 2.0, "mix": 40.0, "gain": -3.0}


class Recovery(NamedTuple):
    fault: str
    gap_s: float
    """Without a block of sound."""
    room_s: float
    """From the fault until the same room sounded, fully faded in; 0 if it never stopped."""
    same: bool
    """The same room, knobs and controls as before."""


class Victims(Protocol):
    """The processes of a pedal that runs, and what keeps them running."""

    def pid(self, name: str) -> int: ...
    def tend(self) -> None: ...


class OwnPedal:
    """A pedal of a supervisor in this process."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.tend = supervisor.tend

    def pid(self, name: str) -> int:
        if name == "jackd":
            process = self._supervisor.jack.process if self._supervisor.jack else None
        else:
            process = next(
                child.process for child in self._supervisor.children if child.name == name
            )
        if process is None:
            raise UserError(f"{name} does not run")
        return process.pid


class ServicePedal:
    """The pedal that systemd runs on this system."""

    def tend(self) -> None:
        time.sleep(0.002)

    def pid(self, name: str) -> int:
        if name != "jackd":
            words = ["systemctl", "show", "-p", "MainPID", "--value", f"nverb-{name}"]
            found = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        else:
            group = Path("/proc").glob("[0-9]*/comm")
            found = next((int(path.parent.name) for path in group if _read(path) == "jackd"), 0)
        if not found:
            raise UserError(f"{name} does not run")
        return found


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


class Ear:
    """Looks at the mailbox, and only looks."""

    def __init__(self) -> None:
        self._path = running_dir() / "mailbox"
        self._identity: tuple[int, int] | None = None
        self.port: _engine.Port | None = None

    def heartbeat(self) -> tuple[int, int]:
        """Blocks since the engine's start, and when the last one ended (CLOCK_MONOTONIC, ns); zeros without an engine."""
        try:
            info = os.stat(self._path)
            if (info.st_dev, info.st_ino) != self._identity:
                with open(self._path, "r+b") as file:
                    self.port = _engine.Port(mmap.mmap(file.fileno(), 0))
                self._identity = (info.st_dev, info.st_ino)
        except (OSError, ValueError):
            return 0, 0
        assert self.port is not None
        meters = self.port.meters()
        return meters.blocks, meters.heartbeat_ns

    def block_ns(self) -> int:
        assert self.port is not None
        return round(1e9 * self.port.block_frames / self.port.rate_hz)

    def room(self) -> int:
        """Fingerprint of the room that sounds alone, fully faded in; 0: none does."""
        if self.port is None:
            return 0
        meters = self.port.meters()
        return 0 if meters.fading or not meters.playing_serial else self.port.newest_room()


def controls(timeout_s: float = 5.0) -> dict[str, float]:
    return dict(ask({"do": "get"}, timeout_s=timeout_s)["values"])


def _alike(now: dict[str, float], before: dict[str, float]) -> bool:
    """The same controls; a knob that stands where its control is may fine-tune it by 1 % of its travel."""
    return all(
        abs(to_position(find(name), now[name]) - to_position(find(name), before[name])) < 0.01
        for name in before
    )


def cause(
    victims: Victims,
    fault: Callable[[Victims], None],
    name: str,
    *,
    settle_s: float = SETTLE_S,
    give_up_s: float = GIVE_UP_S,
) -> Recovery:
    """Causes a fault and waits until all has been as before for `settle_s`. Raises UserError if it is not within `give_up_s`."""
    ear = Ear()
    ear.heartbeat()
    values = controls()
    last_blocks, before_ns = ear.heartbeat()
    fault_ns = time.monotonic_ns()
    fault(victims)
    gap_ns, room_ns, last_ns = 0, 0, before_ns
    asked_ns, quiet_since = fault_ns, 0.0
    same = False
    while time.monotonic_ns() - fault_ns < give_up_s * 1e9:
        victims.tend()
        time.sleep(0.001)
        (blocks, heard_ns), now_ns = ear.heartbeat(), time.monotonic_ns()
        if heard_ns > last_ns:
            # Less what was played between two looks: these may be apart. A new engine counts its blocks from 0.
            played = blocks - last_blocks if blocks >= last_blocks else blocks
            gap_ns = max(gap_ns, heard_ns - last_ns - (played - 1) * ear.block_ns())
            last_blocks, last_ns = blocks, heard_ns
        playing = now_ns - last_ns < 200e6
        if not playing or not ear.room():
            room_ns, quiet_since = 0, 0.0
            continue
        if not room_ns:
            room_ns, quiet_since = now_ns, time.monotonic()
        # A fault may take a while to be noticed: all is well when it has been for longer than any watchdog's patience.
        if time.monotonic() - quiet_since > settle_s and now_ns - asked_ns > 200e6:
            asked_ns = now_ns
            try:
                same = _alike(
                    controls(0.5), values
                )  # who hangs does not answer: the pedal must be tended meanwhile
            except UserError:
                continue
            break
    else:
        raise UserError(f"{name}: the pedal was not as before within {give_up_s:g} s")
    moved = gap_ns > 100e6
    return Recovery(name, gap_ns / 1e9, (room_ns - fault_ns) / 1e9 if moved else 0.0, same)


def kill(name: str, number: signal.Signals) -> Callable[[Victims], None]:
    return lambda victims: os.kill(victims.pid(name), number)


def change_block_size(victims: Victims) -> None:
    """JACK's block twice as long, or half, from one moment to the next, as any JACK client may ask for."""
    ear = Ear()
    ear.heartbeat()
    assert ear.port is not None
    owner = os.stat(f"/proc/{victims.pid('jackd')}").st_uid  # jackd serves its own user only
    words = ["jack_bufsize", "256" if ear.port.block_frames == 128 else "128"]
    done = subprocess.run(
        words, user=owner, capture_output=True, text=True, timeout=10, check=False
    )
    if done.returncode:
        raise UserError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")


FAULTS: dict[str, Callable[[Victims], None]] = {
    "audio process killed": kill("audio", signal.SIGKILL),
    "audio process hangs": kill("audio", signal.SIGSTOP),
    "control process killed": kill("control", signal.SIGKILL),
    "control process hangs": kill("control", signal.SIGSTOP),
    "jackd killed": kill("jackd", signal.SIGKILL),
    "jackd hangs": kill("jackd", signal.SIGSTOP),
    "JACK's block size changed": change_block_size,
}


@contextmanager
def _pedal(service: bool) -> Iterator[Victims]:
    if service:
        yield ServicePedal()
        return
    with private_pedal(block_frames=128, synchronous=False, audio_arguments=()) as supervisor:
        wait_for_room(supervisor)
        yield OwnPedal(supervisor)


def measure(*, service: bool, faults: list[str] | None = None, show: bool = True) -> dict[str, Any]:
    """All faults, one after another. `service`: on the pedal that systemd runs here, as root; else on a pedal of its own."""
    from firmware_py.bench.pedal import start_to_first_block_ms

    start_s = 0.0 if service else start_to_first_block_ms(128) / 1000
    results = []
    with _pedal(service) as victims:
        if service:
            start_s = _service_start_s()
        if show:
            print(
                f"a bare start of the audio process takes {start_s:.2f} s here; the bar for each gap is {BAR_S:g} s"
            )
            print(f"{'fault':28} {'no sound':>9} {'/ start':>8} {'same room':>10}")
        ask({"do": "set", "values": ROOM})
        wait = time.monotonic() + SETTLE_S
        while time.monotonic() < wait:
            victims.tend()
        for name in faults or FAULTS:
            result = cause(victims, FAULTS[name], name)
            results.append(result)
            if show:
                back = f"{result.room_s:8.2f} s" if result.room_s else "   never away"
                ratio = f"{result.gap_s / start_s:8.1f}" if start_s else "       -"
                print(
                    f"{name:28} {result.gap_s:7.2f} s {ratio} {back}{'' if result.same else '  OTHER CONTROLS'}",
                    flush=True,
                )
    return {"start_s": start_s, "bar_s": BAR_S, "faults": [result._asdict() for result in results]}


def _service_start_s() -> float:
    """What systemd measured at the last start of the audio process: from its start to its first block."""
    words = [
        "systemctl",
        "show",
        "nverb-audio",
        "-p",
        "ExecMainStartTimestampMonotonic",
        "-p",
        "ActiveEnterTimestampMonotonic",
    ]
    values = dict(
        line.split("=")
        for line in subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    )
    return (
        int(values["ActiveEnterTimestampMonotonic"])
        - int(values["ExecMainStartTimestampMonotonic"])
    ) / 1e6
