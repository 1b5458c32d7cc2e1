"""docs/board.md: every block of commands says where it runs, and its commands exist."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from firmware_py.commands.table import build_parser

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def guide() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guide_doc", ROOT / "tests/board/guide_doc.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["guide_doc"] = module
    spec.loader.exec_module(module)
    return module


def test_every_block_of_the_guide_has_a_mark(guide: ModuleType) -> None:
    marks = [block.mark for block in guide.blocks()]
    assert {"desk", "board", "image"} <= set(marks)
    assert marks.count("not run") <= 5, "let tests/board/guide.py run new commands"


def test_blank_card_sounds_after_the_commands_that_the_guide_promises(guide: ModuleType) -> None:
    """make acceptance ARGS="--only guide" runs them and hears the sound."""
    assert guide.commands_to_sound(guide.blocks()) == 6
    assert "after six\ncommands" in guide.DOCUMENT.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "Do this:\n\n```\nls\n```\n",
        "**[desk]** or **[board]**:\n```sh\nls\n```",
        "**[moon]**\n```\nls\n```",
    ],
)
def test_blocks_rejects_a_block_without_exactly_one_mark(guide: ModuleType, text: str) -> None:
    with pytest.raises(guide.Unmarked):
        guide.blocks(text)


def test_blocks_skips_the_contents_of_files(guide: ModuleType) -> None:
    assert guide.blocks("```ini\ndtparam=spi=on\n```\n\nGo **[board]**:\n\n```\nls\n```\n") == [
        (7, "board", "ls")
    ]


def test_adapted_rejects_a_word_that_is_missing(guide: ModuleType) -> None:
    assert guide.adapted("make BOARD=x", {"BOARD=x": "BOARD=y"}) == "make BOARD=y"
    with pytest.raises(guide.Unmarked, match="no longer contains"):
        guide.adapted("make", {"BOARD=x": "BOARD=y"})


def test_commands_of_the_guide_exist(guide: ModuleType) -> None:
    targets = {
        line.split(":")[0]
        for line in (ROOT / "Makefile").read_text().splitlines()
        if ":" in line and line[0].islower()
    }
    seen = 0
    for block in guide.blocks():
        for line in block.script.splitlines():
            words = [word for word in shlex.split(line) if word != "sudo"]
            if Path(words[0]).name == "nverb":
                build_parser().parse_args(
                    words[1:]
                )  # SystemExit if there is no such command or option
                seen += 1
            elif words[0] == "make":
                assert words[1] in targets, line
                seen += 1
    assert seen >= 10
