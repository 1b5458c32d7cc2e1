"""The log: its lines, and the level that the settings choose."""

from __future__ import annotations

import argparse
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import HANG_S

from dsp.errors import UserError
from firmware_py.base.log import logger, set_level
from firmware_py.base.say import speak_as
from firmware_py.commands.engine_options import fill_from_settings
from firmware_py.state.settings import Settings, checked, write


@pytest.fixture(autouse=True)
def usual_level() -> Iterator[None]:
    yield
    speak_as()
    set_level(Settings().log_level)


def test_line_names_its_part(capsys: pytest.CaptureFixture[str]) -> None:
    logger("control").info("100 %s of it")
    speak_as("nverb run")
    logger().warning("no part")
    assert capsys.readouterr().err == "nverb control: 100 %s of it\nnverb run: no part\n"


def test_exception_is_logged_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logger("control").error("a bug", exc_info=ZeroDivisionError("division"))
    first, *_, last = capsys.readouterr().err.splitlines()
    assert (first, last) == ("nverb control: a bug", "    ZeroDivisionError: division")


@pytest.mark.parametrize(
    ("level", "written"),
    [("debug", "debug info warning"), ("info", "info warning"), ("warning", "warning")],
)
@pytest.mark.parametrize("service", [True, False])
def test_setting_chooses_the_lowest_level(
    service: bool,
    level: str,
    written: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    write(checked({"log_level": level}, "test"))
    fill_from_settings(argparse.Namespace(), service=service)
    for name in ("debug", "info", "warning"):
        logger("audio").log(logging.getLevelNamesMapping()[name.upper()], name)
    assert capsys.readouterr().err.replace("nverb audio: ", "").split() == written.split()


def test_settings_reject_an_unknown_level() -> None:
    with pytest.raises(UserError, match='"debug", "info" or "warning"'):
        checked({"log_level": "loud"}, "test")


def test_line_on_a_terminal_clears_the_simulated_board() -> None:
    ours, theirs = pty.openpty()
    program = "from firmware_py.base.log import logger; logger('control').info('text')"
    subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True, timeout=HANG_S)
    os.close(theirs)
    assert os.read(ours, 100) == b"\r\x1b[Knverb control: text\r\n"
    os.close(ours)
