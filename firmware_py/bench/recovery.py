"""`nverb bench recovery`: the gap in the sound after each fault, and whether the state is restored.

Measured on real processes, with the audio process's heartbeat in shared memory, which advances once
per block. A gap is the time between the last block before the fault and the first block after it; a
fault in the control process must cause none. Each gap is compared with the time of a plain start of
the audio process on this machine: the rest is the time to detect the fault.
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
from typing import NamedTuple, Protocol, TypedDict

from device.controls import find, to_position
from dsp import _engine
from dsp.errors import UserError
from firmware_py.base.paths import running_dir
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor
from firmware_py.jack.defaults import BLOCK_FRAMES
from firmware_py.link.client import ask

OTHER_FRAMES = 2 * BLOCK_FRAMES
BAR_S = 3.0
GIVE_UP_S = 30.0
SETTLE_S = 6.0
"""Pause between two faults: longer than crashguard.STABLE_S, so deaths do not form a loop."""
ROOM = {"x": 6.0, "y": 3.0, "z": 5.0, "width": 2.0, "mix": 40.0, "gain": -3.0}


class Recovery(NamedTuple):
    fault: str
    gap_s: float
    """Time without a block of sound."""
    room_s: float
    """From the fault until the same room plays, fully faded in; 0 if it never stopped."""
    same: bool
    """Room, knobs and controls are as before."""


class Victims(Protocol):
    """The processes of a running pedal. tend: call it often; it restarts dead processes."""

    def pid(self, name: str) -> int: ...
    def tend(self) -> None: ...


class OwnPedal:
    """A pedal that a supervisor in this process runs."""

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
            raise UserError(f"{name} is not running")
        return process.pid


class ServicePedal:
    """The pedal that systemd runs on this machine."""

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
            raise UserError(f"{name} is not running")
        return found


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


class Ear:
    """Reads the mailbox; never writes it."""

    def __init__(self) -> None:
        self._path = running_dir() / "mailbox"
        self._identity: tuple[int, int] | None = None
        self.port: _engine.Port | None = None

    def heartbeat(self) -> tuple[int, int]:
        """Blocks since the engine's start, and the end of the last one (CLOCK_MONOTONIC, ns).

        (0, 0) without an engine.
        """
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
        """Fingerprint of the room that plays, fully faded in; 0 if there is none."""
        if self.port is None:
            return 0
        meters = self.port.meters()
        return 0 if meters.fading or not meters.playing_serial else self.port.newest_room()


def controls(timeout_s: float = 5.0) -> dict[str, float]:
    return dict(ask({"do": "get"}, timeout_s=timeout_s)["values"])


def _alike(now: dict[str, float], before: dict[str, float]) -> bool:
    """True if all controls differ by less than 1 % of their travel.

    A knob at the position of its control may fine-tune it.
    """
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
    """Cause a fault and wait until everything has been as before for `settle_s`.

    Raises UserError after `give_up_s`.
    """
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
            # Subtract the blocks played between two polls. A new engine counts from 0.
            played = blocks - last_blocks if blocks >= last_blocks else blocks
            gap_ns = max(gap_ns, heard_ns - last_ns - (played - 1) * ear.block_ns())
            last_blocks, last_ns = blocks, heard_ns
        playing = now_ns - last_ns < 200e6
        if not playing or not ear.room():
            room_ns, quiet_since = 0, 0.0
            continue
        if not room_ns:
            room_ns, quiet_since = now_ns, time.monotonic()
        # Detection takes time: everything must be as before for longer than any watchdog timeout.
        if time.monotonic() - quiet_since > settle_s and now_ns - asked_ns > 200e6:
            asked_ns = now_ns
            try:
                # A short timeout: a hanging process does not answer, and the pedal needs tending.
                same = _alike(controls(0.5), values)
            except UserError:
                continue
            break
    else:
        raise UserError(f"{name}: the pedal did not recover within {give_up_s:g} s; see its log")
    moved = gap_ns > 100e6
    return Recovery(name, gap_ns / 1e9, (room_ns - fault_ns) / 1e9 if moved else 0.0, same)


def kill(name: str, number: signal.Signals) -> Callable[[Victims], None]:
    return lambda victims: os.kill(victims.pid(name), number)


def change_block_size(victims: Victims) -> None:
    """Change JACK's block size to 256 or 128 frames, as any JACK client may. Raises UserError."""
    ear = Ear()
    ear.heartbeat()
    assert ear.port is not None
    # jackd accepts clients of its own user only.
    owner = os.stat(f"/proc/{victims.pid('jackd')}").st_uid
    frames = OTHER_FRAMES if ear.port.block_frames == BLOCK_FRAMES else BLOCK_FRAMES
    words = [*_beside(victims.pid("jackd"), owner), "jack_bufsize", str(frames)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise UserError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")


def _beside(pid: int, owner: int) -> list[str]:
    """Words before a command that runs as this user and with the /dev/shm of this process.

    The service has its own. Nothing for an own pedal.
    """
    if os.stat(f"/proc/{pid}/ns/mnt").st_ino != os.stat("/proc/self/ns/mnt").st_ino:
        return ["nsenter", f"--target={pid}", "--mount", f"--setuid={owner}", "--"]
    return ["setpriv", f"--reuid={owner}", "--"] if owner != os.geteuid() else []


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
    with private_pedal(synchronous=False, audio_arguments=()) as supervisor:
        wait_for_room(supervisor)
        yield OwnPedal(supervisor)


class RecoveryFigures(TypedDict):
    start_s: float
    """Start of the audio process until its first block; 0 if unknown."""
    bar_s: float
    faults: list[dict[str, object]]
    """Fields of Recovery."""


def measure(
    *, service: bool, faults: list[str] | None = None, show: bool = True
) -> RecoveryFigures:
    """Cause all faults, one after another. Raises UserError.

    `service`: on the pedal that systemd runs, as root; otherwise on a private pedal. `show`: print
    each result.
    """
    from firmware_py.bench.pedal import start_to_first_block_ms

    start_s = 0.0 if service else start_to_first_block_ms(BLOCK_FRAMES) / 1000
    results = []
    with _pedal(service) as victims:
        if service:
            start_s = _service_start_s()
        if show:
            print(
                f"start of the audio process alone: {start_s:.2f} s; bar of each gap: {BAR_S:g} s"
            )
            print(f"{'fault':28} {'gap':>9} {'/ start':>8} {'same room':>10}")
        ask({"do": "set", "values": ROOM})
        wait = time.monotonic() + SETTLE_S
        while time.monotonic() < wait:
            victims.tend()
        for name in faults or FAULTS:
            result = cause(victims, FAULTS[name], name)
            results.append(result)
            if show:
                back = f"{result.room_s:8.2f} s" if result.room_s else "   no gap"
                ratio = f"{result.gap_s / start_s:8.1f}" if start_s else "       -"
                other = "" if result.same else "  CONTROLS CHANGED"
                print(f"{name:28} {result.gap_s:7.2f} s {ratio} {back}{other}", flush=True)
    return {"start_s": start_s, "bar_s": BAR_S, "faults": [result._asdict() for result in results]}


def _service_start_s() -> float:
    """Last start of the audio process until its first block in s, as systemd measured it."""
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
