"""The docs agree with the tables of controls, faults and profiles, and their commands exist."""

from pathlib import Path

from device.controls import CONTROLS, markdown
from device.lines import FAULTS
from device.profile import ACTIONS, LED_SHOWS, paths

DOCS = Path(__file__).parents[1] / "docs"


def test_controls_md_is_current() -> None:
    assert (DOCS / "controls.md").read_text() == markdown(), (
        "run: nverb controls --markdown > docs/controls.md"
    )


def test_hands_md_names_all_actions_leds_profiles_and_faults() -> None:
    text = (DOCS / "hands.md").read_text()
    for name in (*ACTIONS, *LED_SHOWS, *paths()):
        assert f"`{name}`" in text, name
    for fault, flashes in FAULTS.items():
        assert f"| {flashes} | {'converter' if fault == 'adc' else fault} |" in text, fault


def test_set_help_lists_every_control(capsys) -> None:
    from firmware_py.cli import build_parser

    for words in (["set", "--help"],):
        try:
            build_parser().parse_args(words)
        except SystemExit:
            pass
    shown = capsys.readouterr().out
    assert all(control.name in shown for control in CONTROLS)
