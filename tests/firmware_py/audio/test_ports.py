"""The ports of a pedal on real jackds whose cards have one or two inputs and outputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jack as jack_client
import numpy as np
import pytest
from playing import RATE_HZ, ask, set_controls, sine, status, take
from waiting import wait_until

from dsp.errors import UserError
from firmware_py.desk.doctor import ports_check
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.screen import ports
from firmware_py.desk.supervisor import Supervisor
from firmware_py.link.connections import connections_path

pytestmark = pytest.mark.live

CAPTURE, PLAYBACK = "system:capture_", "system:playback_"


@contextmanager
def pedal_on(
    inputs: int, outputs: int, *arguments: str, connect: bool = True
) -> Iterator[Supervisor]:
    """A pedal on a jackd whose card has these many ports."""
    driver = ("dummy", "-C", str(inputs), "-P", str(outputs))
    with private_pedal(driver=driver, audio_arguments=arguments, connect=connect) as pedal:
        wait_for_room(pedal)
        yield pedal


def connected(client: jack_client.Client) -> dict[str, set[str]]:
    """The pedal's ports, each with the ports that JACK says it is connected to."""
    names = [port.name for port in client.get_ports("nverb:.*", is_audio=True)]
    return {
        name.removeprefix("nverb:"): {port.name for port in client.get_all_connections(name)}
        for name in names
    }


@contextmanager
def observer() -> Iterator[jack_client.Client]:
    server = os.environ["JACK_DEFAULT_SERVER"]
    client = jack_client.Client(f"look-{os.getpid()}", servername=server, no_start_server=True)
    try:
        yield client
    finally:
        client.close()


EXPECTED = [
    # card's inputs and outputs, arguments, the pedal's ports, text of the status
    (
        (1, 1, ()),
        {"input_1": "capture_1", "input_2": "capture_1", "output_1": "playback_1"},
        ["system:capture_1 feeds both sides", "the mean of both sides to system:playback_1"],
    ),
    (
        (4, 2, ("--inputs", "3", "--outputs", "mono")),
        {"input_1": "capture_3", "output_1": "playback_1", "output_2": "playback_2"},
        ["system:capture_3 feeds both sides", "the mean of both sides to"],
    ),
    (
        (2, 4, ("--inputs", "mono", "--outputs", "3, system:playback_4")),
        {"input_1": "capture_1 capture_2", "output_1": "playback_3", "output_2": "playback_4"},
        ["system:capture_1, system:capture_2 feeds both sides"],
    ),
]


@pytest.mark.parametrize(("card", "wanted", "texts"), EXPECTED)
def test_settings_choose_the_ports(
    card: tuple[int, int, tuple[str, ...]], wanted: dict[str, str], texts: list[str]
) -> None:
    inputs, outputs, arguments = card
    with pedal_on(inputs, outputs, *arguments), observer() as client:
        all_wanted = {
            name: {f"system:{other}" for other in others.split()} for name, others in wanted.items()
        }

        def found() -> dict[str, set[str]]:
            return {name: others for name, others in connected(client).items() if others}

        wait_until(lambda: found() == all_wanted, told=lambda: f"{found()}")
        wait_until(lambda: status()["ports"]["outputs"])
        text = "\n".join(ports(ask({"do": "status"})["status"]))
        for each in texts:
            assert each in text
        assert "FAULT" not in text and ports_check().state == "ok"


def test_missing_port_is_a_fault_until_it_is_there() -> None:
    arguments = ("--inputs", "late:one, late:two")
    with pedal_on(2, 2, *arguments) as pedal, observer() as client:
        wait_until(lambda: len(status()["ports"]["faults"]) == 2)
        result = ports_check()
        assert result.state == "bad" and "no JACK port late:two" in result.found
        assert "settings set inputs=" in result.remedy
        server = os.environ["JACK_DEFAULT_SERVER"]
        late = jack_client.Client("late", servername=server, no_start_server=True)
        late.outports.register("one")
        late.activate()
        wait_until(lambda: connected(client)["input_1"] == {"late:one"}, tend=pedal.tend)
        wait_until(lambda: len(status()["ports"]["faults"]) == 1)
        late.disconnect("late:one", "nverb:input_1")
        late.outports.register("two")
        wait_until(lambda: connected(client)["input_2"] == {"late:two"}, tend=pedal.tend)
        assert connected(client)["input_1"] == set()  # the user's choice stays
        wait_until(lambda: not status()["ports"]["faults"])
        late.deactivate()
        late.close()
        wait_until(lambda: len(status()["ports"]["faults"]) == 2, tend=pedal.tend)


def test_connections_file_of_a_dead_pedal_is_no_error() -> None:
    """`nverb status` and `nverb doctor` without a pedal."""
    assert not connections_path().exists()
    assert ports_check().state == "none"
    with pytest.raises(UserError):
        ask({"do": "status"})


def test_guitar_in_one_of_two_inputs_sounds_on_both_sides() -> None:
    """Both sides within 0.1 dB, from 50 ms after the first note on; then the other input speaks."""
    with pedal_on(2, 2, connect=False) as pedal:
        set_controls(pedal, gain=0, mix=0)
        start = RATE_HZ
        sound = np.concatenate([np.zeros((start, 2), np.float32), sine(1.0)])
        sound[:, 1] = 0
        heard = take(pedal, sound).astype(float)[start + RATE_HZ // 20 :]
        levels = 10 * np.log10((heard**2).mean(axis=0))
        assert abs(levels[0] - levels[1]) < 0.1 and levels[0] > -20
        assert status()["ports"]["feed"] == 1
        assert "input 1 feeds both sides" in "\n".join(ports(ask({"do": "status"})["status"]))
        other = np.zeros((RATE_HZ, 2), np.float32)
        other[:, 1] = sine(1.0)[:, 1]
        take(pedal, other)
        assert status()["ports"]["feed"] == 0
