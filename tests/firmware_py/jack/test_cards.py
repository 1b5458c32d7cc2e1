"""Sound cards: their names, which one the settings mean, and what jackd is told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from made_up_asound import nverb, write_cards
from waiting import HANG_S

from dsp.errors import UserError
from firmware_py.jack import cards
from firmware_py.jack.cards import NoCard, choose, normal_name, remember
from firmware_py.jack.start import driver
from firmware_py.state.card_name import parse
from firmware_py.state.settings import Settings


@pytest.fixture
def asound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "asound"
    monkeypatch.setattr(cards, "ASOUND", folder)
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    return folder


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("hw:USB", "hw:USB"),
        ("hw:CARD=USB,DEV=0", "hw:USB"),
        ("hw:CARD=USB", "hw:USB"),
        ("hw:DEV=2,CARD=USB", "hw:USB,2"),
        ("hw:USB,0", "hw:USB"),
        ("hw:USB,0,1", "hw:USB,0,1"),
        ("hw:1", "hw:1"),
        ("plughw:CARD=MODDUO,DEV=0", "plughw:MODDUO"),
        ("sysdefault:CARD=USB", "hw:USB"),
        ("front:CARD=USB,DEV=0", "hw:USB"),
        (" hw:USB ", "hw:USB"),
    ],
)
def test_parse_accepts_each_spelling_of_a_card(text: str, kept: str) -> None:
    assert str(parse(text)) == kept
    assert str(parse(kept)) == kept


@pytest.mark.parametrize(
    "text",
    ["", "USB", "hw:", "hw:USB,x", "hw:CARD=USB,CARD=B", "pulse:USB", "hw:a b", "hw:1,2,3,4"],
)
def test_parse_rejects_what_is_no_card(text: str) -> None:
    assert parse(text) is None


PI = ("0:vc4hdmi0:play", "1:Headphones:play", "2:USB:both")


def test_normal_name_replaces_number_by_identifier(asound: Path) -> None:
    write_cards(asound, *PI)
    for text in ("hw:2", "2", "USB", "usb", "hw:usb,0", "hw:CARD=USB,DEV=0"):
        assert normal_name(text, "card") == "hw:USB"
    assert normal_name("hw:Absent", "card") == "hw:Absent"
    assert normal_name("auto", "card") == "auto"


def test_normal_name_rejects_number_without_card(asound: Path) -> None:
    write_cards(asound, "0:USB:both")
    with pytest.raises(UserError, match=r"card=hw:1: there is no card 1 now; here: hw:USB \("):
        normal_name("hw:1", "card=hw:1")


def test_choose_prefers_card_that_plays_and_records(asound: Path) -> None:
    write_cards(asound, *PI)
    assert str(choose(Settings())) == "hw:USB"
    write_cards(asound, "0:vc4hdmi0:both", "1:Headphones:both", "2:sndrpiwsp:both")
    assert str(choose(Settings())) == "hw:sndrpiwsp"
    write_cards(asound, "0:vc4hdmi0:play", "1:Headphones:play")
    with pytest.raises(NoCard, match=r"no sound card that can record.*hw:Headphones"):
        choose(Settings())  # removed: wait for it


def test_choose_takes_a_card_for_each_direction(asound: Path) -> None:
    write_cards(asound, "0:vc4hdmi0:play", "1:sndrpihifiberry:play", "2:Device:rec")
    choice = choose(Settings())
    assert driver(Settings(), choice, 2) == [
        *("alsa", "-C", "hw:Device", "-P", "hw:sndrpihifiberry", "-n", "2")
    ]
    with pytest.raises(NoCard):  # soon after power-on another one may still appear
        choose(Settings(), waited=False)


def test_choose_prefers_cards_used_last(asound: Path) -> None:
    write_cards(asound, "0:A:both", "1:B:both")
    assert str(choose(Settings())) == "hw:A"
    remember(choose(Settings(card="hw:B")))
    assert str(choose(Settings())) == "hw:B"
    write_cards(asound, "0:A:both")
    with pytest.raises(NoCard, match="used last, hw:B"):
        choose(Settings(), waited=False)
    assert str(choose(Settings())) == "hw:A"


def test_choose_uses_separate_cards_of_the_settings(asound: Path) -> None:
    write_cards(asound, *PI, "3:Dongle:rec")
    settings = Settings(card="hw:Headphones", capture_card="hw:Dongle", capture_channels=1)
    assert driver(settings, choose(settings), 3) == [
        *("alsa", "-C", "hw:Dongle", "-P", "hw:Headphones", "-n", "3", "-i", "1")
    ]
    only_input = choose(Settings(capture_card="hw:Dongle"))
    assert (str(only_input.capture), str(only_input.playback)) == ("hw:Dongle", "hw:USB")


def test_choose_names_what_is_missing_and_what_is_there(asound: Path) -> None:
    write_cards(asound, *PI)
    with pytest.raises(NoCard, match=r"no sound card hw:MODDUO; here: hw:vc4hdmi0 .*hw:USB \(USB"):
        choose(Settings(card="hw:MODDUO"))
    with pytest.raises(NoCard, match=r"hw:0 cannot record: hw:vc4hdmi0 .*capture_card=NAME"):
        choose(Settings(card="hw:0"))
    write_cards(asound)
    with pytest.raises(NoCard, match="here: no sound card"):
        choose(Settings())


def test_sound_cards_reads_title_and_devices(asound: Path) -> None:
    asound.mkdir()
    (asound / "cards").write_text(
        " 2 [ICUSBAUDIO7D   ]: USB-Audio - ICUSBAUDIO7D\n"
        "                      Generic ICUSBAUDIO7D at usb-0000:01:00.0-1.3, full speed\n"
    )
    (asound / "pcm").write_text(
        "02-00: USB Audio : USB Audio : playback 1\n02-01: USB Audio : USB Audio #1 : capture 1\n"
    )
    (card,) = cards.sound_cards()
    assert str(card) == "hw:ICUSBAUDIO7D (ICUSBAUDIO7D, card 2: plays and records)"
    assert str(choose(Settings()).capture) == "hw:ICUSBAUDIO7D,1"  # not its first device


def test_holder_names_the_process_that_has_the_card(asound: Path) -> None:
    write_cards(asound, "1:USB:both")
    usb = parse("hw:USB")
    assert usb is not None and cards.holder(usb, "capture") == ""
    status = asound / "card1" / "pcm0c" / "sub0" / "status"
    status.parent.mkdir(parents=True)
    status.write_text("closed\n")
    assert cards.holder(usb, "capture") == ""
    status.write_text(f"state: RUNNING\nowner_pid   : {os.getpid()}\n")
    assert f"(process {os.getpid()}" in cards.holder(usb, "capture")
    assert cards.holder(usb, "playback") == ""


def test_settings_command_keeps_the_name_and_says_which_card(tmp_path: Path) -> None:
    asound = write_cards(tmp_path / "asound", *PI)

    def settings_set(*values: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            nverb(asound, "settings", "set", *values),
            env=os.environ | {"NVERB_DATA_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )

    done = settings_set("card=hw:2")
    assert "card = hw:USB\n# hw:USB (USB of a test, card 2: plays and records)" in done.stdout
    assert 'card = "hw:USB"' in (tmp_path / "settings.toml").read_text()
    done = settings_set("card=hw:0")
    assert done.returncode == 1 and "hw:vc4hdmi0 cannot record" in done.stderr
    assert settings_set("card=hw:0", "capture_card=usb").returncode == 0
    done = settings_set("card=hw:3")
    assert done.returncode == 1 and "there is no card 3 now" in done.stderr
    assert "not there now" in settings_set("card=hw:Absent").stdout
