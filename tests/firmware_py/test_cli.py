"""The command `nverb` in a shell: closed and full outputs, signals, file names, error messages."""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from traps import lay_traps
from waiting import HANG_S, wait_until

from dsp.errors import InvalidValue, UserError
from firmware_py import cli
from firmware_py.base import progress
from firmware_py.commands import table

SHIPPED_MODEL = str(Path(__file__).parents[2] / "models/shipped/decoder.nvmodel")


def start(*arguments: str | bytes | Path, **how: Any) -> subprocess.Popen[bytes]:
    how = {"stderr": subprocess.PIPE} | how
    return subprocess.Popen([sys.executable, "-m", "firmware_py.cli", *arguments], **how)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["bank", "build", "--grid", "1", "-o", "rooms.nvbank"],
        ["model", "info", SHIPPED_MODEL],  # checks the network in a child process
        ["bank", "build", "--model", SHIPPED_MODEL, "--grid", "2", "-o", "rooms.nvbank"],
    ],
)
def test_command_imports_no_module_from_the_current_folder(
    arguments: list[str], tmp_path: Path
) -> None:
    caught = lay_traps(tmp_path)
    nverb = Path(sys.executable).parent / "nverb"
    with tempfile.TemporaryDirectory() as data:
        environment = os.environ | {"NVERB_DATA_DIR": data}
        subprocess.run(
            [nverb, *arguments], cwd=tmp_path, env=environment, timeout=HANG_S, check=True
        )
    assert not caught.exists(), caught.read_text()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["completion", "bash"]])
def test_closed_pipe_is_no_error(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*arguments, stdout=writer)
    os.close(writer)
    assert process.communicate(timeout=HANG_S)[1] == b"" and process.returncode == 0


def test_full_output_is_reported_in_one_line() -> None:
    with open("/dev/full", "wb") as full:
        process = start("--version", stdout=full)
    errors = process.communicate(timeout=HANG_S)[1]
    assert errors == b"nverb: No space left on device\n" and process.returncode == 1


WRITE_ERRORS = {
    "wrong arguments": ("bogus",),
    "an error": ("bank", "info", "/nowhere"),
    "progress": ("bank", "build", "--grid", "2", "-o", "rooms.nvbank"),
    "a note, and the work done": ("preset", "list"),
}
"""Commands that write to stderr."""


@pytest.mark.parametrize("arguments", WRITE_ERRORS.values(), ids=WRITE_ERRORS)
def test_unwritable_stderr_changes_neither_output_nor_status(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried with stderr on a full disk, on a pipe without a reader, and closed."""
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    (tmp_path / "presets.json").write_text("no presets")
    usual = start(*arguments, stdout=subprocess.PIPE, cwd=tmp_path)
    output, errors = usual.communicate(timeout=HANG_S)
    assert errors
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "wb") as full:
        unheard: list[dict[str, Any]] = [
            {"stderr": full},
            {"stderr": writer},
            {"stderr": None, "preexec_fn": lambda: os.close(2)},
        ]
        for how in unheard:
            quiet = start(*arguments, stdout=subprocess.PIPE, cwd=tmp_path, **how)
            assert quiet.communicate(timeout=HANG_S)[0] == output
            assert quiet.returncode == usual.returncode, how
    os.close(writer)


def test_closed_output_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """With stdin, stdout and stderr closed, messages must not go into the bank that it writes."""
    path = tmp_path / "rooms.nvbank"

    def close() -> None:
        for descriptor in (0, 1, 2):
            os.close(descriptor)

    assert (
        start("bank", "build", "--grid", "2", "-o", path, stderr=None, preexec_fn=close).wait(
            HANG_S
        )
        == 0
    )
    assert start("bank", "verify", path, stderr=None).wait(HANG_S) == 0


@pytest.fixture(scope="module")
def long_sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "long.wav"
    soundfile.write(path, np.zeros(8_000_000, np.int16), 8000)
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_render_and_leaves_no_file(
    long_sound: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """It ends by the signal: after an exit status bash would continue its loop."""
    render = start(
        "render", long_sound, tmp_path / "out.wav", preexec_fn=lambda: os.nice(5)
    )  # so that it does not end before the signal

    def begun() -> bool:
        assert render.poll() is None
        return bool(list(tmp_path.iterdir()))

    wait_until(begun)
    render.send_signal(number)
    assert render.communicate(timeout=HANG_S)[1] == b""
    assert render.returncode == -number and not list(tmp_path.iterdir())


def test_signal_in_a_finaliser_ends_the_command() -> None:
    """Python drops exceptions of finalisers."""
    program = """if True:
        import os, signal, time
        from firmware_py import cli
        class Dropped:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)
        def work(arguments):
            Dropped()
            time.sleep(600)
        cli._command = work
        cli.main()"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, timeout=HANG_S
    )
    assert done.stderr == b"" and done.returncode == -signal.SIGTERM


@pytest.mark.parametrize("word", [*sorted(cli.LASTING), "render"])
def test_stop_signal_ends_what_runs_until_stopped_with_status_0(word: str) -> None:
    """Also in an exec(), after which Python itself would end by SIGINT, and when a second try is
    due."""
    program = """if True:
        import os, signal
        from firmware_py import cli
        def work(arguments):
            try:
                exec("os.kill(os.getpid(), signal.SIGTERM)", globals())
            finally:
                signal.setitimer(signal.ITIMER_REAL, cli.RETRY_S)
        cli._command = work
        raise SystemExit(cli.main())"""
    done = subprocess.run(
        [sys.executable, "-c", program, word], capture_output=True, check=False, timeout=HANG_S
    )
    assert done.stderr == b"" and done.returncode == (-signal.SIGTERM if word == "render" else 0)


def test_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    """As under nohup."""
    path = tmp_path / "rooms.nvbank"
    build = start(
        *("bank", "build", "--grid", "3", "-o", path),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert build.stderr is not None
    assert b"1 of 27" in build.stderr.readline()
    build.send_signal(signal.SIGHUP)
    build.communicate(timeout=HANG_S)
    assert build.returncode == 0 and path.exists()


@pytest.mark.parametrize("name", ["out.wav", "out.flac", "out.ogg"])
def test_sound_that_does_not_fit_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    """libsndfile writes through callbacks, which drop exceptions."""
    sound = tmp_path / "in.wav"
    soundfile.write(sound, 0.1 * np.random.default_rng(1).standard_normal((48_000, 2)), 48_000)
    out = tmp_path / name
    render = start(
        *("render", sound, out),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)),
    )
    assert (
        render.communicate(timeout=HANG_S)[1].decode() == f"nverb render: {out}: File too large\n"
    )
    assert render.returncode == 1 and list(tmp_path.iterdir()) == [sound]


def test_build_does_not_replace_a_pipe(tmp_path: Path) -> None:
    """As root, `-o /dev/null` must not replace /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    build = start("bank", "build", "--grid", "1", "-o", pipe)
    assert (
        build.communicate(timeout=HANG_S)[1].decode()
        == f"nverb bank build: {pipe}: is a device or a pipe, not a file\n"
    )
    assert build.returncode == 1 and pipe.is_fifo()


@pytest.mark.parametrize(
    "arguments",
    [
        ["bank", "import", "."],
        ["bank", "map"],
        ["model", "traverse"],
        ["bank", "build", "--grid", "30"],
    ],
)
def test_missing_output_folder_is_reported_before_the_work(
    tmp_path: Path, arguments: list[str]
) -> None:
    soundfile.write(tmp_path / "room.wav", np.ones(4800), 48_000)
    where = [] if arguments[-1] in ("map", "traverse") else ["-o"]
    process = start(*arguments, *where, "nowhere/out", cwd=tmp_path)
    errors = process.communicate(timeout=HANG_S)[1]
    command = " ".join(arguments[:2])
    assert errors.decode() == f"nverb {command}: nowhere: no such folder\n"
    assert process.returncode == 1


def test_render_takes_names_that_are_not_utf_8(tmp_path: Path) -> None:
    sound = tmp_path / "in.wav"
    soundfile.write(sound, np.ones(480), 48_000)
    sound = sound.rename(tmp_path / os.fsdecode(b"K\xfcche.wav"))
    process = start(
        "render", sound, tmp_path / os.fsdecode(b"Gro\xdfe K\xfcche.wav"), stdout=subprocess.PIPE
    )
    output, errors = process.communicate(timeout=HANG_S)
    assert b"Gro\xdfe K\xfcche.wav: " in output and errors == b"" and process.returncode == 0


def test_bank_keeps_names_that_are_not_utf_8(tmp_path: Path) -> None:
    folder, bank, out = tmp_path / "in", tmp_path / "own.nvbank", tmp_path / "out"
    folder.mkdir()
    soundfile.write(tmp_path / "in.wav", np.geomspace(1, 1e-3, 8000), 48_000)
    (tmp_path / "in.wav").rename(folder / os.fsdecode(b"K\xfcche.wav"))
    for arguments in (
        ["import", folder, "-o", bank],
        ["export", bank, out],
        ["import", out, "-o", bank],
    ):
        assert start("bank", *arguments, stderr=None).wait(HANG_S) == 0
    assert os.listdir(os.fsencode(out)).count(b"K\xfcche.wav") == 1


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (UserError("wrong", status=3), "wrong", 3),
        (InvalidValue("x = 99: from 0 to 9"), "x = 99: from 0 to 9", 1),
        (FileNotFoundError(2, "No such file", "a.wav"), "a.wav: No such file", 1),
        (ImportError("no module keras"), "no module keras", 1),
    ],
)
def test_main_prints_the_users_mistake_in_one_line(
    error: Exception,
    line: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_command", fail)
    assert cli.main(["status"]) == status
    assert capsys.readouterr().err == f"nverb: {line}\n"


@pytest.mark.parametrize("error", [ValueError("shapes (2,) (3,)"), KeyError("x"), TypeError()])
def test_main_prints_the_traceback_of_a_bug(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_command", fail)
    assert cli.main(["status"]) == 1
    *above, last = capsys.readouterr().err.splitlines()
    assert above[0].startswith("Traceback") and any("in fail" in line for line in above)
    assert "a bug in nverb; please report it with the lines above" in last


WRONG = {
    "control": ("render", "IN", "OUT", "--set", "mix=loud"),
    "range": ("render", "IN", "OUT", "--set", "x=nan"),
    "no sound file": ("render", "JUNK", "OUT"),
    "no bank": ("bank", "info", "JUNK"),
    "grid": ("bank", "build", "--grid", "0", "-o", "OUT"),
    "no model": ("model", "info", "JUNK"),
    "preset": ("preset", "show", "nope"),
    "board": ("board", "show", "nope"),
    "setting": ("settings", "set", "block_frames=3"),
    "channel": ("midi", "channel", "²"),
    "key": ("image", "IN", "-o", "OUT", "--wheels", "WHERE", "--key", "JUNK"),
    "block": ("bench", "kernel", "--plan", "--block", "3"),
    "IR length": ("bench", "kernel", "--plan", "--ir-ms", "nan"),
    "install": ("install", "JUNK"),
    "inventory": ("push", "--inventory", "JUNK", "@all", "bank", "JUNK"),
}
"""For each command a wrong value, and a file that is not what it should be."""


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_wrong_values_are_not_reported_as_bugs(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    (tmp_path / "junk").write_bytes(bytes(range(128, 256)) * 9)
    soundfile.write(tmp_path / "in.wav", np.ones(480), 48_000)
    places = {"IN": "in.wav", "OUT": "out.wav", "JUNK": "junk", "WHERE": "."}
    words = [str(tmp_path / places[word]) if word in places else word for word in arguments]
    assert cli.main(words) in (1, 2)
    assert capsys.readouterr().err.count("\n") == 1


def test_every_command_module_is_in_the_table() -> None:
    folder = Path(cli.__file__).parent / "commands"
    modules = {path.stem for path in folder.glob("*.py") if "def add_parser(" in path.read_text()}
    assert modules == set(table.COMMANDS)


def test_training_is_not_replaced_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also without the studio packages: it is refused before they are loaded."""
    checkpoint = tmp_path / "training/checkpoint/model.weights.h5"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("precious")
    assert cli.main(["model", "train", "-o", str(tmp_path)]) == 1
    assert "--force" in capsys.readouterr().err
    assert cli.main(["model", "train", "-o", str(tmp_path / "new"), "--rooms", "200"]) == 1
    assert "256" in capsys.readouterr().err
    assert checkpoint.read_text() == "precious"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["preset", "list", "--foo"], "nverb preset list: unrecognized arguments: --foo"),
        (["--foo", "status"], "nverb: unrecognized arguments: --foo"),
        (["preset", "lits"], "nverb preset: no such word 'lits': did you mean list?"),
        (["presets"], "nverb: no command 'presets': did you mean preset?"),
        (["qqq"], "nverb: no command 'qqq': there are run,"),
        (["help", "qqq"], "nverb: no command 'qqq'"),
    ],
)
def test_wrong_words_name_their_command(words: list[str], told: str, capsys) -> None:
    assert cli.main(words) == 2
    found = capsys.readouterr().err
    assert found.startswith(told) and found.count("\n") == 1
    assert "store" not in found.replace("restore", "") and "audio" not in found  # internal


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["get"], "nverb get: no pedal runs here"),
        (["preset", "show", "Nowhere"], "nverb preset show: "),
        (["bank", "info", "nowhere.nvbank"], "nverb bank info: "),
        (["midi", "forget", "mix"], "nverb midi remove: "),  # the old word
    ],
)
def test_error_names_its_command(
    words: list[str], told: str, capsys, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    assert cli.main(words) == 1
    found = capsys.readouterr().err
    assert found.startswith(told) and found.count("\n") == 1, found


def test_help_is_grouped_and_help_of_a_command_is_its_help(capsys) -> None:
    assert cli.main(["help"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line.endswith(":")] == [
        *(f"{group}:" for group in table.GROUPS),
        "options:",
    ]
    shown = [line.split()[0] for line in text.splitlines() if re.match("  [a-z]", line)]
    assert shown == [name for name in table.COMMANDS if name not in table.INTERNAL]
    assert cli.main(["help", "preset", "save"]) == 0
    helped = capsys.readouterr().out
    assert cli.main(["preset", "save", "--help"]) == 0
    assert capsys.readouterr().out == helped


def test_quiet_prints_errors_only(capsys) -> None:
    assert cli.main(["controls", "--quiet"]) == 0
    assert cli.main(["--quiet", "controls"]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["-q", "preset", "show", "nothing"]) == 1
    assert "no preset" in capsys.readouterr().err
    progress.is_quiet = False


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--set", "x=1", "mix=2", "in", "out"], ["x=1", "mix=2"]),
        (["in", "out", "--set", "x=1", "--set", "y+=2", "z=3"], ["x=1", "y+=2", "z=3"]),
        (["--set=x=1", "in", "out"], ["x=1"]),
    ],
)
def test_set_takes_several_assignments(words: list[str], values: list[str]) -> None:
    args = table.build_parser().parse_args(["render", *words])
    assert args.values == values and (str(args.input), str(args.output)) == ("in", "out")


def test_every_command_has_a_description() -> None:
    def leaves(parser, words: str):
        groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        for action in groups:
            for word, child in action.choices.items():
                yield from leaves(child, f"{words} {word}")
        if not groups:
            yield words, parser.description

    missing = [
        words
        for words, text in leaves(table.build_parser(), "nverb")
        if not text and words.split()[1] not in table.INTERNAL
    ]
    assert not missing, missing


def test_missing_package_is_reported_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """As `nverb demo` of an installed service, which has no JACK client for Python."""
    monkeypatch.setitem(sys.modules, "jack", None)

    def handler(_: object) -> int:
        import jack  # noqa: F401

        return 0

    monkeypatch.setattr("firmware_py.commands.controls._controls", handler)
    assert cli.main(["controls"]) == 1
    told = capsys.readouterr().err
    assert "needs JACK-Client" in told and "install JACK-Client" in told and told.count("\n") == 1
