"""The sound card's mixer: read, set up before JACK opens the card, kept, and `nverb card`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from made_up_asound import write_cards
from made_up_card import WM8731, MadeUpCard, choice, switch, volume

from dsp.errors import UserError
from firmware_py.cli import main
from firmware_py.desk import card as guide_module
from firmware_py.jack import mixer
from firmware_py.jack.mixer_controls import parse
from firmware_py.jack.start import Starter
from firmware_py.jack.starting_points import STARTING_POINTS
from firmware_py.state.settings import Settings

# Printed by `amixer contents` of alsa-utils 1.2.8 on an emulated board, the range as amixer.c
# prints it.
CONTENTS = """numid=1,iface=MIXER,name='Master Playback Volume'
  ; type=INTEGER,access=rw---R--,values=2,min=0,max=127,step=0
  : values=121,0
  | dBscale-min=-121.00dB,step=1.00dB,mute=1
numid=2,iface=MIXER,name='Output Mixer HiFi Playback Switch'
  ; type=BOOLEAN,access=rw------,values=1
  : values=off
numid=3,iface=MIXER,name='Input Mux'
  ; type=ENUMERATED,access=rw------,values=1,items=2
  ; Item #0 'Line In'
  ; Item #1 'Mic, with bias'
  : values=1
numid=4,iface=MIXER,name='Mic Boost',index=1
  ; type=INTEGER,access=rw---R--,values=1,min=0,max=63,step=0
  : values=40
  | dBrange-
    rangemin=0,,rangemax=4
      | dBscale-min=-100.00dB,step=10.00dB,mute=1
    rangemin=5,,rangemax=63
      | dBscale-min=-57.00dB,step=1.00dB,mute=0
numid=5,iface=PCM,name='Playback Channel Map'
  ; type=INTEGER,access=r----R--,values=2,min=0,max=36,step=0
  : values=0,0
  | container
    | chmap-fixed=FL,FR
"""
GAINS = ("PGA Gain Left", "PGA Gain Right")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("NVERB_DATA_DIR", str(folder))
    monkeypatch.setattr(mixer, "UDEV_QUEUE", tmp_path / "no-queue")
    return folder


def test_parse_reads_values_items_and_decibels() -> None:
    master, hifi, mux, boost = parse(CONTENTS)
    assert (master.name, master.values, master.high) == ("Master Playback Volume", (121, 0), 127)
    assert master.words() == "121 of 127 (0.0 dB) / 0 of 127 (-121.0 dB)"
    assert master.at_db(-20) == 101 and master.at_db(99) == 127
    assert hifi.words() == "off"
    assert mux.words() == "Mic, with bias" and mux.raw("Line In") == 0
    assert (boost.name, boost.db(0), boost.db(5), boost.db(40)) == ("Mic Boost,1", -100, -57, -22)
    with pytest.raises(UserError, match="no item 'Aux'"):
        mux.raw("Aux")


@pytest.mark.parametrize(
    "name",
    ["audioinjectorpi", "hw:audioinjectorpi", "hw:1", "hw:1,0", "hw:CARD=audioinjectorpi,DEV=0"],
)
def test_find_understands_each_spelling(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MadeUpCard(tmp_path, monkeypatch)
    found = mixer.find(name)
    assert found is not None
    assert (found.identifier, found.title) == ("audioinjectorpi", "audioinjector-pi-soundcard")
    assert mixer.find("hw:7") is None


@pytest.mark.parametrize(
    ("there", "text", "wanted"),
    [
        (["0:vc4hdmi0:play", "1:USB:both"], 'card = "auto"', "USB"),
        (["0:HAT:play", "1:Mic:rec"], 'card = "auto"', "Mic"),
        (["0:One:both", "1:Two:both"], 'card = "hw:One"\ncapture_card = "hw:Two"', "Two"),
        (["0:HAT:play"], 'card = "auto"', "HAT"),
        (["0:One:both"], 'card = "dummy"', "One"),
        (["0:One:both"], 'card = "hw:Gone"', "there is no sound card hw:Gone; here: hw:One"),
    ],
)
def test_card_command_takes_the_card_with_the_pedals_input(
    there: list[str],
    text: str,
    wanted: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    MadeUpCard(tmp_path, monkeypatch, (), identifier=wanted)
    write_cards(tmp_path, *there)
    (data / "settings.toml").write_text(f"version = 1\n{text}\n")
    main(["card", "show"])
    said = capsys.readouterr()
    assert said.out.startswith(f"{wanted}: ") or wanted in said.err


def test_restore_sets_the_starting_point_until_a_mixer_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    card = MadeUpCard(tmp_path, monkeypatch)
    mixer.restore("hw:audioinjectorpi", "hw:1,0")
    assert card["Output Mixer HiFi Playback Switch"] == [1] and card["Input Mux"] == [0]
    assert card["Master Playback Volume"] == [121, 121] and card["Capture Volume"] == [23, 23]
    assert card["Mic Capture Switch"] == [0]
    said = capfd.readouterr().err
    assert said.count("mixer of audioinjectorpi: starting point for Audio Injector") == 1

    card["Capture Volume"] = 9
    file = mixer.save(card.identifier)
    card.power_on()
    mixer.restore("hw:audioinjectorpi")
    assert card["Capture Volume"] == [9, 9] and card["Input Mux"] == [0]
    assert "mixer of audioinjectorpi: restored" in capfd.readouterr().err

    assert file.exists() and mixer.forget(card.identifier) and not mixer.forget(card.identifier)
    card.power_on()
    mixer.restore("hw:audioinjectorpi")
    assert card["Capture Volume"] == [23, 23]


def test_restore_opens_a_card_whose_kept_mixer_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    card = MadeUpCard(tmp_path, monkeypatch)
    mixer.save(card.identifier).write_bytes(b"")
    mixer.restore("hw:audioinjectorpi")
    assert card["Output Mixer HiFi Playback Switch"] == [1]
    assert "does not fit (No state is present for card audioinj" in capfd.readouterr().err


def test_restore_opens_what_is_muted_on_an_unknown_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (
        *WM8731,
        switch("Mic Playback Switch"),  # passes the input past the pedal
        volume("Mic Playback Volume", 0, 31, -31, 1),
        volume("Speaker Playback Volume", 7, 31, -31, 1),
        choice("Clock Source", 0, "Internal", "S/PDIF"),
    )
    card = MadeUpCard(tmp_path, monkeypatch, rows, identifier="USB", title="Some Interface")
    mixer.restore("hw:USB")
    assert card["Output Mixer HiFi Playback Switch"] == [1]
    assert card["Master Playback Volume"] == [101, 101]  # -20 dB
    assert card["Capture Volume"] == [23, 23]  # 0 dB
    assert card["Line Capture Switch"] == [1] and card["Mic Capture Switch"] == [0]
    assert card["Mic Playback Switch"] == [0] and card["Mic Playback Volume"] == [0, 0]
    assert card["Speaker Playback Volume"] == [7, 7] and card["Input Mux"] == [1]
    before = card.log.read_text()
    mixer.restore("hw:USB")
    assert card.log.read_text() == before + "amixer -c USB contents\n"  # nothing left to set


def test_restore_waits_for_udev_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """udev runs alsactl for a card that appears, which would overwrite what restore sets."""
    card = MadeUpCard(tmp_path, monkeypatch)
    queue = tmp_path / "queue"
    queue.touch()
    monkeypatch.setattr(mixer, "UDEV_QUEUE", queue)
    runs_meanwhile: list[bool] = []

    def udev_ends(_: float) -> None:
        runs_meanwhile.append(card.log.exists())
        queue.unlink(missing_ok=True)

    with monkeypatch.context() as patch:
        patch.setattr("firmware_py.jack.mixer.time.sleep", udev_ends)
        mixer.restore("hw:1")
    assert not runs_meanwhile[0] and card["Output Mixer HiFi Playback Switch"] == [1]
    card.power_on()
    queue.touch()
    monkeypatch.setattr(mixer, "UDEV_S", 0.01)
    mixer.restore("hw:1")
    assert card["Output Mixer HiFi Playback Switch"] == [1]


def test_restore_never_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    card = MadeUpCard(tmp_path, monkeypatch)
    monkeypatch.setattr(mixer, "TOOL_S", 0.2)
    amixer = tmp_path / "bin/amixer"
    for script, reason in (
        ("sleep 60", "amixer did not answer within 0.2 s"),
        (
            "echo 'amixer: Control hw:1 open error: Permission denied' >&2; exit 1",
            "Permission denied",
        ),
    ):
        amixer.write_text(f"#!/bin/sh\n{script}\n")
        mixer.restore("hw:1")
        assert f"left as it is: {reason}" in capfd.readouterr().err.replace(
            "amixer: Control hw:1 open error: ", ""
        )
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(mixer, "SBIN", "")
    mixer.restore("hw:1", "hw:9", "")
    assert "sudo apt-get install alsa-utils" in capfd.readouterr().err
    assert card["Output Mixer HiFi Playback Switch"] == [0]


def test_mixer_is_set_before_jackd_opens_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = MadeUpCard(tmp_path, monkeypatch)
    jackd = tmp_path / "bin/jackd"
    jackd.write_text(f"#!/bin/sh\necho jackd >> {card.log}\nexit 1\n")
    jackd.chmod(0o755)
    monkeypatch.setenv("JACK_DEFAULT_SERVER", f"nverb-mixer-{os.getpid()}")
    start = Starter(Settings(card="hw:audioinjectorpi"))
    with pytest.raises(UserError, match="jackd did not start"):
        start()
    assert [line.split()[0] for line in card.log.read_text().splitlines()] == [
        *["amixer"] * 3,
        "jackd",
    ]
    assert card["Output Mixer HiFi Playback Switch"] == [1]


def test_starting_points_are_in_the_document() -> None:
    page = (Path(__file__).parents[3] / "docs/card.md").read_text()
    for point in STARTING_POINTS:
        assert point.title in page and point.source.split()[0] in page
        assert point.source.startswith("https://")
    names = [name for point in STARTING_POINTS for name in point.match]
    assert len(names) == len(set(names))


class Guitar:
    """The input meters under a guitar whose loudest stroke has `peak_db` at 0 dB of gain."""

    def __init__(self, card: MadeUpCard, peak_db: float) -> None:
        self._card, self._peak_db = card, peak_db

    def __call__(self) -> Sequence[float]:
        found = {c.name: c for c in mixer.controls(self._card.identifier)}
        names = GAINS if GAINS[0] in found else ("Capture Volume",)
        gains = [found[n].db(found[n].values[0]) or 0.0 for n in names if n in found] or [0.0]
        return [min(self._peak_db + gain_db, 0.0) for gain_db in gains]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide_module, "LISTEN_S", 0.01)
    monkeypatch.setattr(guide_module, "POLL_S", 0.001)


def guided(card: MadeUpCard, peak_db: float) -> tuple[bool, list[str]]:
    said: list[str] = []
    found = mixer.find(card.identifier)
    assert found is not None
    good = guide_module.guide(found, Guitar(card, peak_db), said.append, lambda now, loudest: None)
    return good, said


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("peak_db", [-40.0, -25.0, -9.0, 5.0, 14.0])
def test_level_sets_the_capture_gain(
    peak_db: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = MadeUpCard(tmp_path, monkeypatch)
    card["Capture Volume"] = 23
    good, said = guided(card, peak_db)
    level_db = max(Guitar(card, peak_db)())
    if peak_db == -40:  # 12 dB more is all that this codec has
        assert not good and card["Capture Volume"] == [31, 31]
        assert said[-1] == "the card's input gain cannot go further up: turn the guitar up"
    else:
        assert good and guide_module.QUIET_DB <= level_db <= guide_module.HOT_DB
        assert said[-1].startswith("right: loudest peak")
    assert ("too hot" in said[0]) == (peak_db > 0)


@pytest.mark.usefixtures("quick")
def test_level_sets_gains_that_are_enumerations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [f"{db / 2:.1f}dB" for db in range(-24, 81)]
    rows = tuple(choice(name, 24, *items) for name in GAINS)
    card = MadeUpCard(
        tmp_path,
        monkeypatch,
        rows,
        identifier="sndrpihifiberry",
        title="snd_rpi_hifiberry_dacplusadcpro",
    )
    assert guided(card, -30.0)[0]
    assert [card[name] for name in GAINS] == [[66], [66]]  # 21 dB


@pytest.mark.usefixtures("quick")
def test_level_says_what_to_do_without_sound_or_gain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = MadeUpCard(tmp_path, monkeypatch, (), identifier="pisound", title="pisound")
    assert guided(card, -30.0) == (
        False,
        [
            "too quiet: loudest peak -30.0 dBFS",
            "this card has no input gain that software sets: turn up its knob, or the guitar",
        ],
    )
    with pytest.raises(UserError, match="nothing was heard"):
        guided(card, -100.0)


def test_card_command_shows_keeps_and_restores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = MadeUpCard(tmp_path, monkeypatch)
    assert main(["card", "show"]) == 0
    shown = capsys.readouterr().out
    assert "known as Audio Injector Stereo and Zero" in shown
    assert "MUTED:       Output Mixer HiFi Playback Switch is off" in shown
    assert "kept:        no" in shown and "input level: Capture Volume" in shown
    assert shown.index("Capture Volume  ") < shown.index("output (playback)")

    assert main(["card", "show", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["card"] == "audioinjectorpi" and facts["kept"] is None
    assert facts["input_level"] == ["Capture Volume"]
    controls = {control["name"]: control for control in facts["controls"]}
    assert controls["Capture Volume"]["decibels"] == [-34.5, -34.5]
    assert controls["Input Mux"]["values"] == ["Mic"] and controls["Input Mux"]["maximum"] == 1
    assert controls["Output Mixer HiFi Playback Switch"]["muted"]

    assert main(["card", "restore", "hw:audioinjectorpi"]) == 0
    assert "starting point for Audio Injector" in capsys.readouterr().out
    assert main(["card", "save"]) == 0
    assert str(mixer.state_file(card.identifier)) in capsys.readouterr().out
    assert main(["card", "show"]) == 0
    shown = capsys.readouterr().out
    assert "kept:        since" in shown and "MUTED" not in shown
    assert main(["card", "show", "hw:Other"]) == 1
    assert "hw:audioinjectorpi (audioinjector-pi-soundcard, card 1" in capsys.readouterr().err


def test_card_level_needs_a_pedal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    MadeUpCard(tmp_path, monkeypatch)
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path))
    assert main(["card", "level", "hw:1"]) == 1
    assert "no pedal runs here" in capsys.readouterr().err
