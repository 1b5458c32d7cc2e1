"""OSC: real UDP packets from the client of python-osc."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from waiting import wait_until

from device.controls import find, to_value
from device.events import Action, Change, Notice
from dsp.errors import UserError
from firmware_py.control.inputs import Event, PresetName, Program
from firmware_py.control.osc import Osc

udp_client = pytest.importorskip("pythonosc.udp_client")


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def osc(port: int) -> Iterator[Osc]:
    osc = Osc(str(port))
    yield osc
    osc.close()


def send(port: int, address: str, value: object) -> None:
    client = udp_client.SimpleUDPClient("127.0.0.1", port)
    client.send_message(address, value)
    client._sock.close()  # older versions have no close()


def events(osc: Osc, count: int) -> list[Event]:
    found: list[Event] = []

    def come() -> bool:
        found.extend(osc.poll())
        return len(found) >= count

    wait_until(come, told=lambda: f"only {found} arrived")
    return found


def test_every_address_gives_its_event(osc: Osc, port: int) -> None:
    for address, value in (
        ("/nverb/set/mix", 40),
        ("/nverb/set/lowpass_hz", "2 kHz"),
        ("/nverb/set/bypass", True),
        ("/nverb/turn/gain", 0.5),
        ("/nverb/preset", "Hall"),
        ("/nverb/preset", 3),
        ("/nverb/preset/next", 1.0),
        ("/nverb/preset/next", 0.0),  # the button's release
        ("/nverb/tap", []),
    ):
        send(port, address, value)
    assert events(osc, 8) == [
        Change("mix", 40.0),
        Change("lowpass_hz", 2000.0),
        Change("bypass", 1.0),
        Change("gain", to_value(find("gain"), 0.5)),
        PresetName("Hall"),
        Program(2),
        Action("preset next"),
        Action("tap"),
    ]
    assert str(port) in osc.describe()


@pytest.mark.parametrize(
    ("address", "value", "text"),
    [
        ("/nverb/set/mux", 1, "mix"),
        ("/nverb/set/mix", 101, "0 to 100"),
        ("/nverb/set/mix", float("nan"), "0 to 100"),
        ("/nverb/set/mix", [1, 2], "one number"),
        ("/nverb/turn/mix", 1.5, "0 to 1"),
        ("/nverb/preset", [], "one number"),
        ("/other", 1, "/nverb/set/NAME"),
    ],
)
def test_invalid_packet_gives_only_a_notice(
    osc: Osc, port: int, address: str, value: object, text: str
) -> None:
    send(port, address, value)
    (notice,) = events(osc, 1)
    assert isinstance(notice, Notice) and text in notice.text and "\n" not in notice.text


def test_flood_of_noise_gives_one_notice_and_osc_still_works(osc: Osc, port: int) -> None:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for n in range(50):
        sender.sendto(bytes([n]) * n + b"\xff\x00#bundle", ("127.0.0.1", port))
    sender.close()
    assert sum(isinstance(event, Notice) for event in events(osc, 1) + osc.poll()) == 1
    send(port, "/nverb/set/x", 3)
    assert events(osc, 1) == [Change("x", 3.0)]


@pytest.mark.parametrize("where", ["", "x", "0", "70000", "1.2.3.4.5:9000", "127.0.0.1:"])
def test_osc_rejects_invalid_address(where: str) -> None:
    with pytest.raises(UserError, match="--osc"):
        Osc(where)


def test_osc_rejects_port_in_use(osc: Osc, port: int) -> None:
    with pytest.raises(UserError, match="choose another"):
        Osc(f"127.0.0.1:{port}")
