"""The measurement that the panel or a footswitch starts: watched, bounded, told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from rig import Rig
from waiting import wait_until

from device.events import Action
from dsp.errors import InvalidValue, UserError
from firmware_py.control import measuring
from firmware_py.control.measuring import Measuring
from firmware_py.link.connections import AudioConnections
from firmware_py.link.status import MeasuringStatus

PORTS = AudioConnections(inputs=(("system:capture_2",),), outputs=((), ("system:playback_1",)))
WORKS = """
print("nverb measure: level -60 dB: range 9 dB", file=sys.stderr, flush=True)
print('{"summary": "2 ch, 1.5 s", "remarks": ["input 1: hum of 50 Hz"]}')
"""
WAITS = 'print("nverb measure: ready", file=sys.stderr, flush=True); time.sleep(600)'
IGNORES = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"

Starter = Callable[[str], list[list[str]]]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Starter:
    """Sets the program that measures; returns the words that it is started with."""

    def of(program: str) -> list[list[str]]:
        asked: list[list[str]] = []

        def command(*words: str) -> list[str]:
            asked.append(list(words))
            return [sys.executable, "-S", "-c", f"import signal, sys, time\n{program}"]

        monkeypatch.setattr(measuring, "nverb_command", command)
        return asked

    return of


@pytest.fixture
def own() -> Iterator[Measuring]:
    own = Measuring()
    yield own
    own.close()


def told(own: Measuring, state: str) -> MeasuringStatus:
    wait_until(lambda: own.status["state"] == state, tend=own.look, told=lambda: f"{own.status}")
    return own.status


def started(own: Measuring) -> None:
    """Start, and wait until the process says something."""
    own.start({}, PORTS)
    wait_until(lambda: own.status["text"] == "ready", tend=own.look)


@pytest.mark.parametrize(
    ("program", "state", "text", "remarks"),
    [
        (WORKS, "done", "2 ch, 1.5 s", ["input 1: hum of 50 Hz"]),
        (
            'print("nverb measure: nothing comes back: turn up", file=sys.stderr); sys.exit(1)',
            "failed",
            "nothing comes back: turn up",
            [],
        ),
        ("import os; os.kill(os.getpid(), 9)", "failed", "was killed (signal 9): try again", []),
        ("print('not JSON')", "failed", "cannot be read", []),
    ],
)
def test_end_of_the_process_is_told(
    process: Starter, own: Measuring, program: str, state: str, text: str, remarks: list[str]
) -> None:
    process(program)
    own.start({}, PORTS)
    found = told(own, state)
    assert text in found["text"] and found["remarks"] == remarks and found["pid"] == 0


@pytest.mark.parametrize(("limit", "text"), [("LONGEST_S", "took longer"), ("SILENT_S", "it hung")])
@pytest.mark.parametrize("program", [WAITS, IGNORES])
def test_process_that_does_not_end_is_ended(
    process: Starter,
    own: Measuring,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    limit: str,
    text: str,
) -> None:
    process(program)
    monkeypatch.setattr(measuring, "KILLED_S", 0.0)
    started(own)
    monkeypatch.setattr(measuring, limit, -1.0)
    assert text in told(own, "failed")["text"]


def test_second_start_is_refused_and_stop_ends_the_first(process: Starter, own: Measuring) -> None:
    process(WAITS)
    started(own)
    with pytest.raises(UserError, match="runs already"):
        own.start({}, PORTS)
    own.answer({"act": "stop"}, PORTS)
    assert "stopped" in told(own, "failed")["text"]
    own.answer({"act": "stop"}, PORTS)  # nothing runs: no error
    with pytest.raises(InvalidValue, match="start or stop"):
        own.answer({"act": "go"}, PORTS)


def test_ports_are_the_pedals_first_unless_others_are_asked_for(
    process: Starter, own: Measuring
) -> None:
    asked = process(WORKS)
    own.start({"preset": "Stairs"}, PORTS)
    told(own, "done")
    ports = ["--inputs=system:capture_2", "--outputs=system:playback_1"]
    assert asked[0][:3] == ["measure", "--json", "--wait"]
    assert sorted(asked[0][3:]) == [*ports, "--preset=Stairs"]
    own.start({"inputs": "1,2", "gear": True}, AudioConnections())
    told(own, "done")
    assert "--inputs=1,2" in asked[1] and "--gear" in asked[1]
    assert not any(word.startswith("--outputs") for word in asked[1])


def test_footswitch_starts_and_stops(process: Starter, rig: Rig) -> None:
    process(WAITS)
    own = rig.pedal.measuring
    rig.send(Action("measure"))
    wait_until(lambda: own.status["text"] == "ready", tend=own.look)
    assert rig.ask({"do": "status"})["status"]["measuring"]["pid"]  # type: ignore[index]
    rig.send(Action("measure"))
    assert "stopped" in told(own, "failed")["text"]
    rig.pedal.close_inputs()
