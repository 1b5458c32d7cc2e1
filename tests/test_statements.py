"""What README and docs promise: each statement is on its page, and something tests it.

A row names the test (or the words of a longer test outside `make test`) that proves the statement.
Those that are about the pages, the Makefile and the command line are tested here.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from waiting import HANG_S

from device.controls import to_value
from device.profile import load, paths
from firmware_py.commands import completers, demo
from firmware_py.commands.table import build_parser
from firmware_py.state.factory_presets import factory_presets
from firmware_py.state.presets import Presets

ROOT = Path(__file__).parents[1]


class Statement(NamedTuple):
    page: str
    text: str
    """A regular expression; white space on the page counts as one space."""
    proofs: tuple[str, ...]
    """FILE::TEST, or FILE: WORDS that the file contains."""


STATEMENTS = (
    Statement(
        "README.md",
        "make run # installs what is missing, then runs the pedal",
        ('tests/board/clean.py: suite, clean, "make run"',),
    ),
    Statement(
        "README.md",
        "make test # installs what is missing, then runs ruff, mypy and pytest",
        ("tests/board/clean.py: make test",),
    ),
    Statement(
        "README.md",
        "as root or with sudo.* The first call needs the network, later ones do not",
        (
            "tests/board/clean.py: make run, offline",
            "tests/test_statements.py::test_a_second_make_run_installs_nothing",
        ),
    ),
    Statement(
        "README.md",
        "Listen to `out/demo.wav` and look at `out/demo.png`",
        (
            "tests/board/clean.py: test -s out/demo.wav && test -s out/demo.png",
            "tests/test_statements.py::test_the_demo_writes_where_the_page_says",
        ),
    ),
    Statement(
        "README.md",
        "on a desk with Debian 12 or 13",
        ("tests/test_statements.py::test_no_page_promises_other_systems_than_the_makefile_knows",),
    ),
    Statement(
        "README.md",
        "What is built and pip's packages are in `.venv`, which `make clean` removes; "
        "Debian's packages stay",
        ("tests/test_statements.py::test_make_clean_removes_what_was_installed_but_for_apt",),
    ),
    Statement(
        "README.md",
        "No change clicks: levels and filters ramp over 20 ms",
        (
            "tests/dsp/test_engine.py::test_no_control_clicks",
            "tests/firmware_py/test_pedal.py::"
            "test_turning_every_room_knob_while_it_plays_does_not_click",
        ),
    ),
    Statement(
        "README.md",
        "x decay time, y brightness, z early character",
        ("tests/models/test_shipped.py::test_axes_correlate_with_their_quantities",),
    ),
    Statement(
        "docs/player.md",
        "A knob that you turn keeps its control where you put it, until `morph` moves again",
        ("tests/firmware_py/control/test_morph.py::test_hand_has_the_last_word_until_morph_moves",),
    ),
    Statement(
        "docs/player.md",
        "Levels and filters move a hundred times a second, rooms ten times, each into the next "
        "without a click",
        (
            "tests/firmware_py/control/test_modulators.py::"
            "test_rooms_follow_ten_times_a_second_and_return_when_it_is_off",
            "tests/firmware_py/test_pedal.py::"
            "test_a_glide_between_scenes_and_modulators_do_not_click",
        ),
    ),
    Statement(
        "README.md",
        "0 mono, 1 natural stereo, above 1 wider, below 0 sides exchanged",
        (
            "tests/dsp/test_synthesis.py::test_width_0_is_mono_and_negative_width_exchanges_sides",
            "tests/dsp/test_engine.py::test_whole_frame_predelays_are_exact",
            "tests/dsp/test_engine.py::test_gain_and_mix",
            "tests/dsp/test_engine.py::test_bypass_passes_input_unchanged",
        ),
    ),
    Statement(
        "README.md",
        r"lowpass, lowpass_hz \| on/off, 500 Hz to 20 kHz \| darker room",
        ("tests/firmware_py/desk/test_render.py::test_a_filter_that_is_only_switched_on_is_heard",),
    ),
    Statement(
        "README.md",
        "beside the service it is refused",
        (
            "tests/firmware_py/base/test_service.py::"
            "test_run_beside_the_service_is_refused_and_names_systemctl",
            "tests/firmware_py/test_pedal.py::"
            "test_run_plays_refuses_a_second_one_and_leaves_nothing_behind",
        ),
    ),
    Statement(
        "README.md",
        "What is saved is in one folder: `/var/lib/nverb` of the service",
        (
            "tests/test_upkeep.py::test_a_backup_of_a_board_restores_all_of_it_on_another_card",
            "tests/firmware_py/control/test_control.py::test_what_survives_a_start",
        ),
    ),
    Statement(
        "README.md",
        "All of it works over ssh for members of group `nverb`",
        (
            "tests/board/container.py: a member of the group does what the docs say",
            "tests/board/first_hour.py: def member_hour",
        ),
    ),
    Statement(
        "README.md",
        "`make install`, without sudo, puts it into `~/.local/bin`",
        ("tests/board/first_hour.py: def desk_hour",),
    ),
    Statement(
        "docs/upkeep.md",
        "`make acceptance-service` with ssh and sudo in a container",
        (
            'tests/board/first_hour.py: section("Backup")',
            'tests/board/first_hour.py: section("Restore, or move to another card")',
            'tests/board/first_hour.py: section("Update, and go back")',
        ),
    ),
    Statement(
        "README.md",
        "nverb doctor # checks the machine, gives remedies",
        ("tests/firmware_py/desk/test_doctor.py::test_doctor_gives_remedy_for_each_fault",),
    ),
    Statement(
        "README.md",
        "completes? commands and presets",
        (
            "tests/firmware_py/commands/test_completion.py::"
            "test_bash_completes_commands_options_and_names",
            "tests/test_statements.py::test_completion_knows_presets_of_both_kinds",
        ),
    ),
    Statement(
        "README.md",
        "(the graph that plays live|as the pedal plays), offline",
        (
            "tests/firmware_py/desk/test_render.py::test_render_equals_scipy",
            "tests/firmware_py/test_pedal.py::test_live_output_is_the_convolution_without_offset",
        ),
    ),
    Statement(
        "README.md",
        "`nverb COMMAND --help` explains each command",
        ("tests/test_statements.py::test_help_of_each_command_and_word_says_what_it_does",),
    ),
    Statement(
        "docs/models.md",
        "make studio # Keras, TensorFlow",
        ("tests/test_statements.py::test_no_page_and_no_message_names_an_extra_that_pypi_lacks",),
    ),
    Statement(
        "docs/push.md",
        "pushes to all boards of a group at once and prints one line for each; "
        "the exit status is not 0 if any failed",
        (
            "tests/firmware_py/install/test_push.py::test_push_to_group_prints_a_line_per_board",
            "tests/firmware_py/install/test_push.py::test_push_plays_and_second_push_sends_nothing",
        ),
    ),
    Statement(
        "docs/push.md",
        r"`nverb remove NAME` \| deletes one that is not in use",
        (
            "tests/firmware_py/install/test_install.py::"
            "test_store_commands_list_use_roll_back_and_remove",
            "tests/board/container.py: removes a bank",
        ),
    ),
    Statement(
        "docs/service.md",
        "The previous version stays",
        ("tests/test_upkeep.py::test_update_and_the_way_back_are_the_commands_of_the_installer",),
    ),
    Statement(
        "docs/service.md",
        "`sudo make uninstall` removes everything except `/var/lib/nverb` and the user",
        ("tests/board/container.py: removes everything but the state folder",),
    ),
    Statement(
        "docs/hands.md",
        "MIDI comes from ALSA's sequencer if there is one",
        (
            "tests/firmware_py/control/test_midi_alsa.py::test_message_that_is_sent_comes_back",
            "tests/firmware_py/control/test_midi_alsa.py::"
            "test_machine_without_sequencer_is_reported_with_its_remedy",
        ),
    ),
    Statement(
        "docs/hands.md",
        "An expression pedal is one more row, with the range of the foot",
        ("tests/test_statements.py::test_the_row_of_an_expression_pedal_has_the_range_it_says",),
    ),
    Statement(
        "docs/hands.md",
        "An invalid profile is reported with file, row and remedy",
        (
            "tests/device/test_profile.py::"
            "test_load_rejects_invalid_profile_with_file_row_and_remedy",
        ),
    ),
)


def flat(page: str) -> str:
    return " ".join((ROOT / page).read_text().split())


def test_there_are_25_statements_at_least() -> None:
    assert len(STATEMENTS) >= 25


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda s: s.text[:40])
def test_statement_is_on_its_page_and_is_tested(statement: Statement) -> None:
    assert re.search(statement.text, flat(statement.page)), f"{statement.page}: {statement.text}"
    for proof in statement.proofs:
        file, is_test, name = proof.partition("::")
        if is_test:
            assert f"def {name}(" in (ROOT / file).read_text(), proof
        else:
            file, _, words = proof.partition(": ")
            assert words in flat(file), proof


def make(*words: str) -> list[str]:
    """The commands that make would run."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", *words],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_a_second_make_run_installs_nothing(tmp_path: Path) -> None:
    for stamp in (".apt-run", ".run"):
        (tmp_path / stamp).touch()
    assert make("run", f"VENV={tmp_path}") == [f"{tmp_path}/bin/nverb run --or-demo "]


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_clean_removes_what_was_installed_but_for_apt(tmp_path: Path) -> None:
    removed = " ".join(make("clean", f"VENV={tmp_path}"))
    assert str(tmp_path) in removed and "apt" not in removed
    for line in (ROOT / "Makefile").read_text().splitlines():
        if "pip install" in line and not line.startswith("#"):
            assert "$(BIN)/pip" in line or "$$to/bin/pip" in line, line


def test_the_demo_writes_where_the_page_says() -> None:
    assert Path("out") == demo.OUT


def test_no_page_promises_other_systems_than_the_makefile_knows() -> None:
    """Packages come from apt only."""
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert not re.search(r"any Linux|every Linux", flat(str(page.relative_to(ROOT)))), page
    assert "apt-get install" in (ROOT / "Makefile").read_text()


def test_no_page_and_no_message_names_an_extra_that_pypi_lacks() -> None:
    packages = ("bank", "device", "dsp", "firmware_py", "models", "systemd")
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for path in [*pages, *(p for package in packages for p in (ROOT / package).rglob("*.py"))]:
        assert "nverb[" not in path.read_text(), path


def test_completion_knows_presets_of_both_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", os.fspath(tmp_path))
    Presets(tmp_path).save("Mine", {"x": 1.0})
    assert completers.presets() == ["Mine", *(preset.name for preset in factory_presets())]


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


def test_help_of_each_command_and_word_says_what_it_does() -> None:
    without = [parser.prog for parser in parsers(build_parser()) if not parser.description]
    assert without == []


def test_the_row_of_an_expression_pedal_has_the_range_it_says(tmp_path: Path) -> None:
    """The row of the page, as it stands there."""
    [row] = re.findall(r"^ +(\{ .*pedal = true.*\}),$", (ROOT / "docs/hands.md").read_text(), re.M)
    wanted = tomllib.loads(f"row = {row}")["row"]
    text = paths()["sim"].read_text()
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/foot.toml").write_text(text.replace("knob = [", f"knob = [\n  {row},"))
    [knob] = [knob for knob in load("foot", tmp_path).knobs if knob.pedal]
    assert knob.channel == wanted["channel"] and knob.control.name == "mix"
    assert [to_value(knob.control, end) for end in (0.0, 1.0)] == [20.0, 80.0]
