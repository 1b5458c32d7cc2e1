"""Inject a fault at every call by which an installer changes the disk.

    python tests/firmware_py/install/faults/sweep.py --all      all scenarios, calls and faults;
                                                                some minutes, `make acceptance-push`
    python tests/firmware_py/install/faults/sweep.py --quick    what `make test` runs

After each fault the pedal must start and play the old or the new bank, complete. The script starts
itself again with faults.c preloaded. Each case is a fork of one warm process, with its own data
folder, that meets one fault and exits. Then, without faults, the rooms are opened as the pedal does
at start (`installed_rooms`), without a warning, and compared with both banks; the same work is
repeated, must succeed and leave no temporary file. At some kill points, among them those on both
sides of the switch, a complete pedal starts on the folder (jackd, audio process, control process)
and its impulse response, measured via JACK, is compared with that of the bank.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import functools
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

DIE, TEAR, FAIL, FILL = 1, 2, 3, 4
FAULTS = {
    "killed": (DIE, 0),
    "killed in mid-write": (TEAR, 0),
    "EIO": (FAIL, errno.EIO),
    "ENOSPC from there on": (FILL, errno.ENOSPC),
    "EROFS from there on": (FILL, errno.EROFS),
}
CRASHED, REFUSED, DONE, BROKEN = 137, 1, 0, 70
POINTS = ((0.0, 0.0, 0.0), (1.3, -0.4, -2.0))
HERE = Path(__file__).parent
sys.path += [
    str(HERE.parents[3]),
    str(HERE.parents[2]),
]  # as pytest does


@dataclass
class Outcome:
    """The result of a sweep: cases by end, and a line for each wrong case."""

    cases: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.cases.values())


class Scenario(NamedTuple):
    """A data folder is prepared by `before`; `work` then runs under faults."""

    before: Callable[[Path], None]
    work: Callable[[Path], None]
    allowed: set[str]
    """The rooms that may play after a fault."""
    finally_plays: str
    """The rooms that play after the work without a fault."""


class Bench:
    """Two banks, old and new, and the scenarios that install them."""

    def __init__(self, folder: Path) -> None:
        from bank.build import build
        from bank.format import Bank
        from models.generator import room_at

        self.folder = folder
        self.old, self.new = folder / "old.nvbank", folder / "new.nvbank"
        build(self.old, room_at, steps=2, name="old")
        build(self.new, lambda x, y, z: room_at(-x, y, -z), steps=3, name="new")
        self.rooms = {
            name: [Bank.open(path).energy_map(*point).level_db for point in POINTS]
            for name, path in (("old", self.old), ("new", self.new))
        }
        self.built_in = folder / "starter.nvbank"
        shutil.copy(self.old, self.built_in)

    def scenario(self, name: str) -> Scenario:
        def nothing(_: Path) -> None: ...

        def install_new(data: Path) -> None:
            install(self.new, data)

        return {
            "first install": Scenario(nothing, install_new, {"built-in", "new"}, "new"),
            "install": Scenario(self._old, install_new, {"old", "new"}, "new"),
            "install, many there": Scenario(self._many, install_new, {"old", "new"}, "new"),
            "install, begun before": Scenario(self._cut_off, install_new, {"old", "new"}, "new"),
            "install, from a pipe": Scenario(
                self._old,
                lambda data: install(self.new, data, pipe=True),
                {"old", "new"},
                "new",
            ),
            "use": Scenario(self._both, lambda data: use("new", data), {"old", "new"}, "new"),
            "use built-in": Scenario(
                self._both,
                lambda data: use("built-in", data),
                {"old", "built-in"},
                "built-in",
            ),
            "rollback": Scenario(
                self._both, lambda data: back_to(data, "new"), {"old", "new"}, "new"
            ),
            "remove": Scenario(self._both, lambda data: remove("new", data), {"old"}, "old"),
            "preset": Scenario(self._preset, lambda data: keep_preset(data, 2), {"old"}, "old"),
        }[name]

    # The data folder before a scenario.

    def _old(self, data: Path) -> None:
        install(self.old, data)

    def _both(self, data: Path) -> None:
        install(self.new, data)
        install(self.old, data)

    def _cut_off(self, data: Path) -> None:
        self._old(data)
        part = data / "store/incoming" / f"{digest(self.new)}.part"
        part.write_bytes(self.new.read_bytes()[:100_000])

    def _many(self, data: Path) -> None:
        from firmware_py.state.store import KEPT_SLOTS, Store

        for number in range(KEPT_SLOTS + 1):
            slot = Store(data).root / "slots" / f"spare{number}.{number:064x}.nvbank"
            self._old(data)
            slot.write_bytes(self.old.read_bytes())

    def _preset(self, data: Path) -> None:
        self._old(data)
        keep_preset(data, 1)

    def which(self, source: object) -> str:
        """The name of the bank with these rooms, or "neither"."""
        for name, levels in self.rooms.items():
            if all(
                np.array_equal(source.energy_map(*point).level_db, level)  # type: ignore
                for point, level in zip(POINTS, levels, strict=True)
            ):
                return name
        return "neither"


SCENARIOS = (
    "first install",
    "install",
    "install, many there",
    "install, begun before",
    "install, from a pipe",
    "use",
    "use built-in",
    "rollback",
    "remove",
    "preset",
)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def perform(request: dict[str, object], data: Path, path: Path | None = None) -> None:
    from firmware_py.base.progress import Report
    from firmware_py.install import board_end
    from firmware_py.install.receive import CHUNK

    def chunks(at: int) -> Iterator[bytes]:
        content = path.read_bytes() if path else b""
        step = min(CHUNK, 20_000)  # so that one file needs many writes
        for begin in range(at, len(content), step):
            yield content[begin : begin + step]

    board_end.perform(request, chunks, data=data, report=Report())


def install(path: Path, data: Path, *, pipe: bool = False) -> None:
    known = (
        {"size": None, "sha256": ""}
        if pipe
        else {"size": path.stat().st_size, "sha256": digest(path)}
    )
    perform({"do": "install", "name": path.name, **known}, data, path)


def use(name: str, data: Path) -> None:
    perform({"do": "use", "name": name}, data)


def remove(name: str, data: Path) -> None:
    from firmware_py.state.store import Store

    if any(slot.name == name for slot in Store(data).slots()):
        perform({"do": "remove", "name": name}, data)
    else:  # removed before the fault: the next change cleans up
        use("old", data)


def back_to(data: Path, name: str) -> None:
    """Roll back, unless a rollback before the fault did: a second one would undo it."""
    from firmware_py.state.store import Store

    playing = Store(data).current().playing
    if playing is None or playing.name != name:
        perform({"do": "rollback", "kind": "bank"}, data)


def keep_preset(data: Path, mix: float) -> None:
    import json

    text = {"version": 1, "presets": [{"name": "one", "bank": "", "values": {"mix": mix}}]}
    path = Path(os.environ["NVERB_SWEEP"]) / "preset.json"
    path.write_text(json.dumps(text))
    perform(
        {"do": "install", "name": path.name, "size": path.stat().st_size, "sha256": digest(path)},
        data,
        path,
    )


def hurry(bench: Bench) -> None:
    """Share the computations of a trial among the forks, and make one room only.

    A trial changes no file, so no fault affects it.
    """
    from firmware_py.install import trial
    from firmware_py.rooms import renderer

    renderer.Synthesiser = functools.cache(renderer.Synthesiser)  # type: ignore[misc,assignment]
    check = trial.check
    trial.check = lambda path, *, rooms=(), check_hash=True: check(
        path, rooms=((4.5, 4.5, 4.5),), check_hash=check_hash
    )  # type: ignore[assignment]
    trial.check(bench.old)


class Faults:
    """The preloaded library."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.faults_count.restype = ctypes.c_long

    def arm(self, root: Path, at: int = 0, mode: int = 0, error: int = 0, log: int = -1) -> None:
        self._library.faults_arm(os.fsencode(root), ctypes.c_long(at), mode, error, log)

    def count(self) -> int:
        return int(self._library.faults_count())


def in_fork(what: Callable[[], int | tuple[int, str]]) -> tuple[int, str]:
    """Exit status and error of `what` in a forked process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        status = BROKEN
        try:
            end = what()
            status, last = end if isinstance(end, tuple) else (end, "")
            os.write(writer, last[:2000].encode())
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}"[:2000].encode())
        finally:
            os._exit(status)
    os.close(writer)
    words = b""
    while part := os.read(reader, 4096):
        words += part
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), words.decode()


def attempt(
    work: Callable[[Path], None], data: Path, arm: Callable[[], None]
) -> Callable[[], tuple[int, str]]:
    """A function for in_fork(): DONE, REFUSED with the error, or BROKEN for other exceptions."""

    def run() -> tuple[int, str]:
        from dsp.errors import UserError

        arm()
        try:
            work(data)
        except (UserError, ValueError) as error:
            assert str(error), "an error without a message"
            return REFUSED, str(error)
        return DONE, ""

    return run


def calls(faults: Faults, work: Callable[[Path], None], data: Path, log: int = -1) -> int:
    """The number of calls of the work, counted in a fork without faults."""
    counter = data.parent / "count"

    def run() -> int:
        faults.arm(data, log=log)
        work(data)
        count = faults.count()
        faults.arm(Path("/nowhere"))
        counter.write_text(str(count))
        return 0

    status, words = in_fork(run)
    assert status == 0, words
    return int(counter.read_text())


def fresh(template: Path, data: Path) -> None:
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(template, data, symlinks=True)


def playing(bench: Bench, data: Path) -> tuple[str, list[str]]:
    """What a pedal plays after a start on this data folder, and its warnings."""
    from firmware_py.rooms import source

    complaints: list[str] = []
    os.environ["NVERB_DATA_DIR"] = str(data)
    rooms, reference = source.installed_rooms(complaints.append)
    if not reference:
        return "built-in", complaints
    return bench.which(rooms), complaints


def leftovers(data: Path) -> list[str]:
    store = data / "store"
    if not store.is_dir():
        return []
    return [
        *(path.name for path in (store / "incoming").iterdir()),
        *(path.name for path in (store / "generations").iterdir() if path.name.startswith(".")),
        *(path.name for path in store.iterdir() if path.name == ".current.new"),
    ]


def prepared(bench: Bench, before: Callable[[Path], None]) -> Path:
    """A data folder in the state before a scenario."""
    template = bench.folder / "template"
    shutil.rmtree(template, ignore_errors=True)
    (template / "banks").mkdir(parents=True)
    shutil.copy(bench.built_in, template / "banks" / "starter.nvbank")
    status, words = in_fork(lambda: before(template) or 0)
    assert status == 0, words
    return template


def sweep(
    bench: Bench,
    scenario: str,
    fault: str,
    every: int = 1,
    each: Callable[[Path], None] = lambda _: None,
) -> Outcome:
    """One fault at every `every`-th call of a scenario. each: also checks the data folder."""
    faults, outcome = Faults(), Outcome()
    before, work, allowed, finally_plays = bench.scenario(scenario)
    data = bench.folder / "data"
    template = prepared(bench, before)
    fresh(template, data)
    points = calls(faults, work, data)
    mode, error = FAULTS[fault]
    for at in range(1, points + 1, every):
        fresh(template, data)
        status, words = in_fork(
            attempt(work, data, lambda at=at: faults.arm(data, at, mode, error))
        )  # type: ignore[misc]
        where = f"{scenario}, {fault} at call {at} of {points}"
        end = {CRASHED: "killed", REFUSED: "refused", DONE: "done all the same"}.get(status)
        if end is None:
            outcome.wrong.append(f"{where}: ended with {status}: {words}")
            end = "wrong"
        plays, complaints = playing(bench, data)
        outcome.cases[f"{end}, plays {plays}"] += 1
        if plays not in allowed or complaints:
            outcome.wrong.append(f"{where}: plays {plays} {complaints}")
        if (
            status == REFUSED
            and mode == FAIL
            and plays not in (allowed - {finally_plays} or allowed)
        ):
            outcome.wrong.append(f"{where}: said it was refused, and plays {plays}")
        if status == REFUSED and ("is active nevertheless" in words) != (
            plays not in (allowed - {finally_plays} or allowed)
        ):
            outcome.wrong.append(f"{where}: said {words!r}, and plays {plays}")
        if status == DONE and plays != finally_plays:
            outcome.wrong.append(f"{where}: said it was done, and plays {plays}")
        each(data)
        status, words = in_fork(attempt(work, data, lambda: faults.arm(Path("/nowhere"))))
        plays, complaints = playing(bench, data)
        if status != DONE or plays != finally_plays or complaints or leftovers(data):
            outcome.wrong.append(
                f"{where}, then again: {status} {words} plays {plays} {complaints} "
                f"{leftovers(data)}"
            )
    return outcome


def power_cuts(bench: Bench, scenario: str, every: int = 1) -> Outcome:
    """Every `every`-th state that a power cut during a scenario may leave, see powercut.py."""
    from powercut import Disk, recorded

    faults, outcome = Faults(), Outcome()
    before, work, allowed, finally_plays = bench.scenario(scenario)
    data = bench.folder / "data"
    template = prepared(bench, before)
    fresh(template, data)
    disk = Disk(data)
    log = bench.folder / "log"
    with open(log, "wb") as file:
        calls(faults, work, data, file.fileno())
    chance, seen = random.Random(1), set()
    made = [("chmod", "", "", 0, b""), *recorded(log)]
    for number, call in enumerate(made):
        disk.do(*call)
        is_done = number == len(made) - 1  # and reported as done
        for names, choice in disk.cuts(chance):
            state = disk.fingerprint(names, choice)
            if state in seen and not is_done:
                continue
            seen.add(state)
            if len(seen) % every and not is_done:
                continue
            disk.leave(data, names, choice)
            plays, complaints = playing(bench, data)
            outcome.cases[f"plays {plays}"] += 1
            what = f"{call[0]} {os.path.basename(call[1])}"
            where = f"{scenario}, power cut after call {number} ({what}), data {choice}"
            if plays not in ({finally_plays} if is_done else allowed) or complaints:
                outcome.wrong.append(f"{where}: plays {plays} {complaints}")
            status, words = in_fork(attempt(work, data, lambda: faults.arm(Path("/nowhere"))))
            plays, complaints = playing(bench, data)
            if status == REFUSED:  # a damaged part file: the next attempt starts again
                status, words = in_fork(attempt(work, data, lambda: faults.arm(Path("/nowhere"))))
                plays, complaints = playing(bench, data)
            if status != DONE or plays != finally_plays or complaints or leftovers(data):
                outcome.wrong.append(
                    f"{where}, then again: {status} {words} plays {plays} {complaints} "
                    f"{leftovers(data)}"
                )
    return outcome


def heard(source: object) -> float:
    """Start a pedal on NVERB_DATA_DIR and play an impulse.

    Returns the difference from the room of `source`, in dB relative to its peak.
    """
    from playing import RATE_HZ, ask, set_controls, take
    from waiting import HANG_S

    from firmware_py.desk.private_pedal import private_pedal, wait_for_room
    from firmware_py.rooms.maker import RoomMaker

    impulse = np.zeros((RATE_HZ, 2), np.float32)
    impulse[0] = 0.25
    with private_pedal(block_frames=256, rate_hz=RATE_HZ) as pedal:
        wait_for_room(pedal, HANG_S)
        # Values that differ from the positions of the knobs, which therefore do not fine-tune them.
        set_controls(pedal, gain=0, mix=100, limiter=0, x=2, y=6, z=3, width=2)
        values = ask({"do": "get"})["values"]
        got = take(pedal, impulse)
    ir = 0.25 * RoomMaker(source, RATE_HZ, 10 * RATE_HZ).ir(values)[:2].T  # type: ignore[arg-type]
    want = np.zeros_like(got)
    want[: len(ir)] = ir[: len(got)]
    return float(20 * np.log10(np.abs(got - want).max() / np.abs(want).max() + 1e-30))


def sounds(bench: Bench, scenario: str, points: int) -> Outcome:
    """Kill at `points` (even) calls of a scenario, half of them next to the switch.

    After each a complete pedal starts and must play the old or the new bank.
    """
    from bank.format import Bank
    from firmware_py.rooms import source

    faults, outcome = Faults(), Outcome()
    before, work, allowed, finally_plays = bench.scenario(scenario)
    data = bench.folder / "data"
    template = prepared(bench, before)

    def kill(at: int) -> str:
        fresh(template, data)
        status, words = in_fork(attempt(work, data, lambda: faults.arm(data, at, DIE)))
        assert status == CRASHED, (status, words)
        return playing(bench, data)[0]

    fresh(template, data)
    last = calls(faults, work, data)
    # The last call before which a kill leaves the old state.
    switch = next(at for at in range(last, 0, -1) if kill(at) != finally_plays)
    spread = {1 + number * (switch - 1) // (points // 2) for number in range(points // 2)}
    for at in sorted(
        {switch - 1, switch, switch + 1, last} | spread if points > 2 else {switch, switch + 1}
    ):
        plays = kill(at)
        where = f"{scenario}, killed at call {at} of {last}"
        rooms = (
            Bank.open(getattr(bench, plays))
            if plays in ("old", "new")
            else source.installed_rooms(lambda _: None)[0]
        )
        error_db = heard(rooms)
        outcome.cases[f"sounds as {plays}"] += 1
        if plays not in allowed or not error_db < SAME_DB:
            outcome.wrong.append(f"{where}: {error_db:.0f} dB from the {plays} room")
    return outcome


SAME_DB = -80.0
"""Relative to the peak; two different rooms differ by about 0 dB."""

QUICK = (
    ("install", "killed", 1),
    ("first install", "killed", 4),
    ("install", "EIO", 3),
    ("rollback", "killed", 3),
    ("install, begun before", "killed in mid-write", 5),
    ("install", "ENOSPC from there on", 5),
    ("preset", "killed", 4),
)


QUICK_CUTS = ("install",)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true")
    which.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--only", choices=SCENARIOS, metavar="SCENARIO", help="with --all: this one"
    )
    args = parser.parse_args()
    scenarios = (args.only,) if args.only else SCENARIOS
    if "NVERB_SWEEP" not in os.environ:
        return start_again()
    cases = [(s, f, 1) for s in scenarios for f in FAULTS] if args.all else list(QUICK)
    bench = Bench(Path(os.environ["NVERB_SWEEP"]))
    hurry(bench)
    total, wrong = 0, []
    for scenario, fault, every in cases:
        outcome = sweep(bench, scenario, fault, every)
        ends = ", ".join(f"{count} {end}" for end, count in sorted(outcome.cases.items()))
        print(f"{scenario:24} {fault:22} {outcome.total:4} points: {ends}", flush=True)
        total += outcome.total
        wrong += outcome.wrong
    for scenario in scenarios if args.all else QUICK_CUTS:
        outcome = power_cuts(bench, scenario, 1 if args.all else 2)
        ends = ", ".join(f"{count} {end}" for end, count in sorted(outcome.cases.items()))
        print(f"{scenario:24} {'power cut':22} {outcome.total:4} states: {ends}", flush=True)
        total += outcome.total
        wrong += outcome.wrong
    os.environ.pop("LD_PRELOAD", None)  # the processes of the pedal run without it
    for scenario, points in (
        (("install", 6), ("first install", 2)) if args.all else (("install", 2),)
    ):
        if scenario in scenarios:
            outcome = sounds(bench, scenario, points)
            ends = ", ".join(f"{count} {end}" for end, count in sorted(outcome.cases.items()))
            print(
                f"{scenario:24} {'killed, then started':22} {outcome.total:4} points: {ends}",
                flush=True,
            )
            total += outcome.total
            wrong += outcome.wrong
    print(f"{total} points, {len(wrong)} wrong")
    for line in wrong[:50]:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


def start_again() -> int:
    with tempfile.TemporaryDirectory(prefix="nverb-sweep-", dir="/dev/shm") as folder:
        library = Path(folder) / "faults.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "faults.c", "-ldl"], check=True
        )
        runtime = Path(folder) / "runtime"
        runtime.mkdir()
        environment = os.environ | {
            "NVERB_SWEEP": folder,
            "LD_PRELOAD": str(library),
            "NVERB_RUNTIME_DIR": str(runtime),
            "OPENBLAS_NUM_THREADS": "1",
        }
        return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
