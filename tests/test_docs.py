"""What the documents say of controls, faults and profiles is what the tables say."""

from pathlib import Path

from device.controls import CONTROLS, markdown
from device.lines import FAULTS
from device.profile import ACTIONS, LED_SHOWS, paths

DOCS = Path(__file__).parents[1] / "docs"


def test_the_table_of_controls_is_current() -> None:
    assert (DOCS / "controls.md").read_text() == markdown(), (
        "run: nverb controls --markdown > docs/controls.md"
    )


def test_the_page_about_hands_names_all_that_there_is() -> None:
    text = (DOCS / "hands.md").read_text()
    for name in (*ACTIONS, *LED_SHOWS, *paths()):
        assert f"`{name}`" in text, name
    for fault, flashes in FAULTS.items():
        assert f"| {flashes} | {'converter' if fault == 'adc' else fault} |" in text, fault


def test_help_lists_every_control(capsys) -> None:
    from firmware_py.cli import build_parser

    for words in (["set", "--help"],):
        try:
            build_parser().parse_args(words)
        except SystemExit:
            pass
    shown = capsys.readouterr().out
    assert all(control.name in shown for control in CONTROLS)
