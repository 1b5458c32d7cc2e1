"""The settings file: accepted or rejected as a whole; every error says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import HANG_S

from dsp.errors import UserError
from firmware_py.base.port_names import engine_inputs
from firmware_py.state.settings import Settings, load_for_service, path, read, write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def test_read_without_file_returns_defaults(file: Path) -> None:
    assert read(file) == Settings()


def test_read_returns_written_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    kept = Settings(
        profile="pi-mcp3008", card="hw:USB,1", block_frames=64, periods=3, inputs="2", max_ir_s=2.5
    )
    write(kept)
    assert read(path()) == kept


@pytest.mark.parametrize("value", ["mono", "2", "3,4", "in:left, in:right"])
def test_inputs_name_ports_by_word_number_or_name(file: Path, value: str) -> None:
    file.write_text(f'version = 1\ninputs = "{value}"\n')
    assert read(file).inputs == value


def test_inputs_of_old_file_are_a_count(file: Path) -> None:
    """nverb 0.1.0: the pedal has one input or two."""
    file.write_text("version = 1\ninputs = 2\n")
    assert read(file).inputs == "auto"
    file.write_text("version = 1\ninputs = 1\n")
    assert read(file).inputs == "1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 1\nblok_frames = 64", "block_frames"),
        ("version = 1\nblock_frames = 4097", "16 to 4096"),
        ("version = 1\nblock_frames = 64\nrate_hz = 1", "8000 to 192000"),
        ('version = 1\nrate_hz = "fast"', "whole number"),
        ("version = 1\nperiods = true", "whole number"),
        ("version = 1\ninputs = true", "must be text"),
        ("version = 1\ninputs = 0", "mono"),
        ('version = 1\noutputs = "1,2,3"', "one or two"),
        ("version = 1\nmax_ir_s = nan", "max_ir_s = nan: is not a number"),
        ('version = 1\ncard = "USB"', "aplay -l"),
        ('version = 1\ncard = "hw:1\\u0000"', "aplay -l"),
        ('version = 1\ncapture_card = "auto"', '"same"'),
        ("block_frames = 64", "version = 1"),
        ("version = 2\nblock_frames = 64", "update nverb"),
        ("version = 0\nblock_frames = 64", "reset"),
        ("version = 1\nblock_frames = ", "reset"),
        ("\x00\xff", "reset"),
        ("x" * 70_000, "is larger than"),
    ],
)
def test_read_rejects_invalid_file_with_remedy(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError) as raised:
        read(file)
    assert (
        message in str(raised.value)
        and str(file) in str(raised.value)
        and "\n" not in str(raised.value)
    )


def test_load_for_service_uses_defaults_for_invalid_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    (tmp_path / "settings.toml").write_text("version = 1\nblock_frames = 64\nrate_hz = 1\n")
    used, error = load_for_service()
    assert used == Settings()  # not the valid values either
    assert "rate_hz" in error


@given(data=st.binary(max_size=300))
def test_read_rejects_random_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    file.write_bytes(data)
    with pytest.raises(UserError):
        read(file)


@given(
    table=st.dictionaries(
        st.sampled_from([*Settings.__annotations__, "nonsense"]),
        st.one_of(st.integers(), st.floats(), st.booleans(), st.text('hw:1,"\\\n\0', max_size=20)),
        max_size=4,
    )
)
def test_checked_accepts_values_in_range_only(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, object]
) -> None:
    from firmware_py.state.settings import checked

    try:
        used = checked(table, "table")
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert 16 <= used.block_frames <= 4096
    assert (
        8000 <= used.rate_hz <= 192000
        and engine_inputs(used.inputs) in (1, 2)
        and 0.1 <= used.max_ir_s <= 10
    )


def nverb(*words: str, data: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", *words],
        env=os.environ | {"NVERB_DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def test_settings_command_sets_shows_and_resets(tmp_path: Path) -> None:
    assert nverb("settings", "set", "block_frames=64", "card=dummy", data=tmp_path).returncode == 0
    shown = nverb("settings", data=tmp_path).stdout
    assert "block_frames = 64" in shown and "rate_hz = 48000" in shown
    before = (tmp_path / "settings.toml").read_bytes()
    for words, message in (
        ("block_frames=128 rate_hz=1", "8000"),
        ("profile=pi-mcp3009", "pi-mcp3008"),
        ("blok_frames=64", "block_frames"),
    ):
        done = nverb("settings", "set", *words.split(), data=tmp_path)
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
        assert (tmp_path / "settings.toml").read_bytes() == before
    assert nverb("settings", "reset", data=tmp_path).returncode == 0
    assert "block_frames = 128" in nverb("settings", data=tmp_path).stdout


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_settings_of_a_foreign_editor_are_read(file: Path, encoding: str) -> None:
    file.write_bytes("version = 1\r\nblock_frames = 64\r\n".encode(encoding))
    assert read(file).block_frames == 64


def test_unreadable_settings_are_left_alone_and_the_service_plays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    os.mkfifo(path())
    assert load_for_service()[0] == Settings()
    done = subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", "settings", "set", "block_frames=64"],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 1
    assert "settings.toml: is a pipe" in done.stderr
    assert path().is_fifo()
