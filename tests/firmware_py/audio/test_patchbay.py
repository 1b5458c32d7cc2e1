"""What the audio process connects, when ports come and go between two looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_py.audio.patchbay import Patchbay

CAPTURE, PLAYBACK = ["card:in_1", "card:in_2"], ["card:out_1", "card:out_2"]
OWN = [f"nverb:{way}put_{number}" for way in ("in", "out") for number in (1, 2)]
ALL = {
    ("card:in_1", "nverb:input_1"),
    ("card:in_2", "nverb:input_2"),
    ("nverb:output_1", "card:out_1"),
    ("nverb:output_2", "card:out_2"),
}


class FakePorts:
    """A PortSystem. `makings`: how often each client has made its ports."""

    def __init__(self) -> None:
        self.makings = {"card": 1, "nverb": 1}
        self.made: set[tuple[str, str]] = set()

    def capture_ports(self) -> list[str]:
        return CAPTURE

    def playback_ports(self) -> list[str]:
        return PLAYBACK

    def identity(self, port: str) -> str:
        return str(self.makings[port.partition(":")[0]]) if port in CAPTURE + PLAYBACK + OWN else ""

    def connect(self, source: str, target: str) -> bool:
        self.made.add((source, target))
        return True

    def replug_card(self) -> None:
        self.makings["card"] += 1
        self.made.clear()


@pytest.fixture
def jack() -> FakePorts:
    return FakePorts()


@pytest.fixture
def patchbay(jack: FakePorts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Patchbay:
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path))
    made = Patchbay(jack, "nverb", "auto", "auto", connect=True)
    made.look()
    assert jack.made == ALL
    return made


def test_card_that_was_away_between_two_looks_is_connected_again(
    jack: FakePorts, patchbay: Patchbay
) -> None:
    for _ in range(2):
        jack.replug_card()
        patchbay.look()
        assert jack.made == ALL


def test_connection_that_a_user_removed_stays_removed(jack: FakePorts, patchbay: Patchbay) -> None:
    jack.made.discard(("card:in_2", "nverb:input_2"))
    left = set(jack.made)
    patchbay.look()
    assert jack.made == left
