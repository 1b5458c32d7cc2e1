"""Shell completion in a real bash, with the code that `nverb completion bash` prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import HANG_S


def completions(line: str) -> list[str]:
    """What bash offers for the last word of the line."""
    folder = str(Path(sys.executable).parent)
    script = f"""
        eval "$(nverb completion bash)"
        COMP_LINE={line!r} COMP_POINT={len(line)} COMP_WORDS=({line}) \\
        COMP_CWORD=$(( {len(line.split(" "))} - 1 )) COMP_TYPE=9
        _python_argcomplete nverb
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    )
    return [word.strip() for word in done.stdout.split("\n") if word.strip()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("nverb pan", {"panel"}),
        ("nverb aud", set()),  # internal
        ("nverb preset de", set()),  # a word of an earlier version
        ("nverb help rend", {"render"}),
        ("nverb use buil", {"built-in"}),
        ("nverb bank ver", {"verify"}),
        ("nverb set lowp", {"lowpass=", "lowpass_hz="}),
        ("nverb get highpass_", {"highpass_hz"}),
        ("nverb control --profile pi-i", {"pi-iio"}),
        ("nverb settings set bl", {"block_frames="}),
        ("nverb image x.img --set pro", {"profile="}),
        ("nverb render --ra", {"--raw-ir", "--rate"}),
    ],
)
def test_bash_completes_commands_options_and_names(line: str, offered: set[str]) -> None:
    assert set(completions(line)) == offered


def test_bash_completes_on_and_off_for_a_switch() -> None:
    """bash splits words at `=`, so it completes the part after it."""
    assert set(completions("nverb set lowpass=o")) == {"on", "off"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_code_for_each_shell(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from firmware_py.cli import main

    assert main(["completion", shell]) == 0
    assert "nverb" in capsys.readouterr().out
