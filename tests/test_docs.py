"""The docs agree with the tables of controls, faults and profiles, and their commands exist."""

import re
import shlex
from pathlib import Path

import pytest

from device.controls import CONTROLS, markdown
from device.lines import FAULTS
from device.profile import ACTIONS, LED_SHOWS, paths
from firmware_py.commands.table import COMMANDS, build_parser

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
    for words in (["set", "--help"],):
        try:
            build_parser().parse_args(words)
        except SystemExit:
            pass
    shown = capsys.readouterr().out
    assert all(control.name in shown for control in CONTROLS)


ROOT = DOCS.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_commands_of_the_page_exist(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\(\s*([^)#\s]+)", text):
        assert link.startswith("http") or (page.parent / link).exists(), link
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = "\n".join(re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL))
    for word in re.findall(r"(?<![\w/-])make ([a-z-]+)", code):
        assert word in targets, f"make {word}"
    for word in re.findall(r"(?<![\w./])nverb ([a-z]+)", code):
        assert word in COMMANDS, f"nverb {word}"


TOP_FOLDERS = ("bank", "device", "docs", "dsp", "firmware_py", "models", "systemd", "tests")
MADE_WHILE_RUNNING = {"settings.toml", "boards.toml", "incoming/", "slots/", "mixers/"}
OF_OTHERS = {"docs/audio.md"}
"""Files of other repositories."""
PATHS = [
    f"/{path.relative_to(ROOT)}{'/' if path.is_dir() else ''}"
    for path in (*ROOT.iterdir(), *(p for top in TOP_FOLDERS for p in (ROOT / top).rglob("*")))
]


IN_TOP_FOLDER = rf"(?<![\w/.~-])((?:{'|'.join(TOP_FOLDERS)})/[\w./*-]*[\w*/])(?:::(\w+))?"
ALONE = r"`([\w.*-]+(?:/|\.(?:c|h|py|pyi|md|toml|conf|service|target|svg)))()`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_source_files_and_tests_named_on_the_page_exist(page: Path) -> None:
    """A name without its folder, such as `panel.py`, is a file of that name anywhere."""
    text = page.read_text()
    code = "\n".join(re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL))
    for word, test in re.findall(IN_TOP_FOLDER, code) + re.findall(ALONE, text):
        if word in MADE_WHILE_RUNNING | OF_OTHERS or "NAME" in word:
            continue
        pattern = re.compile("/" + re.escape(word).replace(r"\*", "[^/]*") + "/?$")
        assert any(pattern.search(path) for path in PATHS), word
        assert not test or f"def {test}(" in (ROOT / word).read_text(), f"{word}::{test}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_the_page_fit_100_columns(page: Path) -> None:
    for number, line in enumerate(page.read_text().splitlines(), 1):
        is_row_of_a_table = line.startswith("|")
        assert is_row_of_a_table or len(line) <= 100, f"{page.name}:{number}"


def test_commands_of_the_readme_parse() -> None:
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.M)
    seen = 0
    for line in "\n".join(blocks).splitlines():
        for command in line.split("#")[0].split(" ; "):
            words = shlex.split(command)
            if words and Path(words[0]).name == "nverb":
                build_parser().parse_args(words[1:])  # SystemExit: no such command or option
                seen += 1
    assert seen >= 20
