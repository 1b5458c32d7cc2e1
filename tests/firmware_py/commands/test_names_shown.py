"""Names from outside, in all places where a player sees them: none steers the terminal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bank.build import build
from device.controls import defaults
from device.profile import PACKAGED
from firmware_py.base.log import logger
from firmware_py.base.progress import Bar
from firmware_py.cli import main
from firmware_py.commands.installed import progress_shown
from firmware_py.control import report
from firmware_py.control.pedal import Pedal
from firmware_py.desk.screen import complete, screen
from firmware_py.rooms.source import rooms_named
from firmware_py.state.preset_file import digest_of
from firmware_py.state.store import Store
from models.generator import room_at

EVIL = "\x1b]0;PWN\x07\x1b[31mX\nnverb: all is fine\0\u202e"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with that name on a bank, a slot, a profile, its title and a preset."""
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    in_path = EVIL.replace("\0", "")
    build(tmp_path / "evil.nvbank", room_at, steps=2, name=EVIL)
    Store(tmp_path).make()
    shutil.copy(tmp_path / "evil.nvbank", tmp_path / f"store/slots/{in_path}.{'a' * 64}.nvbank")
    (tmp_path / "profiles").mkdir()
    text = (PACKAGED / "sim.toml").read_text()
    title = next(line for line in text.splitlines() if line.startswith("title"))
    quoted = "".join(f"\\u{ord(c):04x}" if not c.isprintable() else c for c in EVIL)
    profile = tmp_path / f"profiles/{in_path}.toml"
    profile.write_text(text.replace(title, f'title = "{quoted}"'))
    body = {
        "version": 1,
        "startup": EVIL,
        "presets": [{"name": EVIL, "bank": f"/nowhere/{in_path}", "values": {"x": 1.0}}],
    }
    (tmp_path / "presets.json").write_text(json.dumps(body | {"sha256": digest_of(body)}))
    return tmp_path


def is_clean(text: str) -> bool:
    """Whether it is made of printable lines, none of them forged."""
    lines = text.split("\n")
    return all(line.isprintable() and not line.startswith("nverb: all") for line in lines)


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["use", "nothing"],
        ["use", EVIL],
        ["bank", "info", "evil.nvbank"],
        ["bank", "verify", "evil.nvbank"],
        ["board", "list"],
        ["board", "show", EVIL.replace("\0", "")],
        ["board", "show", "nothing"],
        ["preset", "list"],
        ["preset", "show", EVIL],
        ["preset", "rename", "nothing", EVIL],
        ["preset", "delete", "nothing"],
        ["settings", "set", f"profile={EVIL}"],
        ["install", EVIL.replace("\0", "")],
        [EVIL],
    ],
)
def test_commands_show_names_without_control_characters(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words
) -> None:
    monkeypatch.chdir(data)
    main(words)
    shown = capsys.readouterr()
    assert shown.out or shown.err
    assert is_clean(shown.out) and is_clean(shown.err), shown


def test_status_and_log_show_names_without_control_characters(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank = str(data / "evil.nvbank")
    pedal = Pedal(defaults(), rooms_named(bank), bank)
    assert not pedal.play_startup()  # its bank is nowhere
    status = json.loads(json.dumps(report.status(pedal)))
    assert is_clean(screen(complete(status)))
    logger("control").warning("cannot play %s", EVIL)
    try:
        raise ValueError(EVIL)
    except ValueError:
        logger("control").exception("a bug")
    text = capsys.readouterr().err
    assert "PWN" in text and is_clean(text)


def test_installed_bank_names_itself_without_control_characters(data: Path) -> None:
    from firmware_py.base.progress import Report
    from firmware_py.install.installer import install
    from firmware_py.install.receive import STDIN, Offer

    content = (data / "evil.nvbank").read_bytes()
    text = install(
        Offer(STDIN),
        lambda at: iter([content[at:]]),
        data=data,
        report=Report(),
        live=lambda: "plays",
    )
    assert is_clean(text)
    assert all(slot.name.isprintable() for slot in Store(data).slots())


def test_notes_and_progress_of_a_board_are_shown_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_shown() as report:
        report.note(f"the board says {EVIL}")
        report.progress(EVIL, 1, 2)
    bar = Bar()
    bar(EVIL, 1, 2, EVIL)
    bar.close()
    assert "PWN" in (said := capsys.readouterr().err) and is_clean(said)
