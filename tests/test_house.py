"""The rules of docs/architecture.md: which way imports run, and what each process loads."""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import HANG_S

from firmware_py.commands import table

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "dsp": {"dsp"},
    "models": {"models", "dsp"},
    "bank": {"bank", "models", "dsp"},
    "device": {"device", "models", "dsp"},
    "firmware_py": {"firmware_py", "device", "bank", "models", "dsp", "systemd"},
    "systemd": {"systemd", "device", "bank", "models", "dsp"},
}
"""firmware_py -> systemd -> device, bank -> models -> dsp."""
DESK_ONLY = {
    "scipy",
    "librosa",
    "keras",
    "tensorflow",
    "matplotlib",
    "h5py",
    "PIL",
    "distributed",
    "dask",
    "pedalboard",
}
NOT_IN_AUDIO = DESK_ONLY | {
    "numpy",
    "tkinter",
    "soundfile",
    "soxr",
    "gpiozero",
    "lgpio",
    "ai_edge_litert",
    "tflite_runtime",
    "jack",
    "mido",
}


def sources() -> Iterator[tuple[str, Path]]:
    for package in MAY_IMPORT:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield package, path


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level packages that a tree imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str) -> None:
    for own, path in sources():
        if own == package:
            ours = set(imported(ast.parse(path.read_text()))) & set(MAY_IMPORT)
            assert ours <= MAY_IMPORT[package], path.relative_to(ROOT)


LAYERS = (
    {"cli"},
    {"commands"},
    {"bench"},
    {"control", "measure"},
    {"install", "desk"},
    {"rooms", "audio", "jack"},
    {"state", "link"},
    {"base"},
)
"""Rooms of firmware_py, top to bottom: each imports rooms of lower layers only."""
FILE_LINES, FUNCTION_LINES = 500, 60


def modules_imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Modules that a tree imports from, with the name imported ("" for the module itself)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def test_rooms_import_lower_layers_only() -> None:
    layer = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
    for package, path in sources():
        inside = path.relative_to(ROOT / package).with_suffix("").parts
        if package != "firmware_py" or inside[0] == "__init__":
            continue
        for module, name in modules_imported(ast.parse(path.read_text())):
            first, _, rest = f"{module}.{name}".partition(".")
            room = rest.split(".")[0]
            if first == "firmware_py" and room != inside[0]:
                assert layer[room] > layer[inside[0]], f"{path.relative_to(ROOT)} imports {room}"


def test_no_module_imports_a_private_name_of_another() -> None:
    for _, path in sources():
        for module, name in modules_imported(ast.parse(path.read_text())):
            ours = module.split(".")[0] in MAY_IMPORT
            assert not (ours and name.startswith("_")) or name == "_engine", (
                f"{path.relative_to(ROOT)}: {module}.{name}"
            )


def test_public_class_names_are_unique() -> None:
    places: dict[str, Path] = {}
    for _, path in sources():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                other = places.setdefault(node.name, path)
                assert other == path, f"{node.name}: {other} and {path}"


OPENERS = {
    "models/reading.py": "the functions that all others use",
    "models/files.py": "writes files",
    "models/suppress.py": "/dev/null",
    "models/train.py": "on a desk only",
    "bank/resume.py": "on a desk only",
    "device/iio.py": "the kernel's files",
    "device/health.py": "the kernel's files",
    "firmware_py/base/boot.py": "the kernel's files, and a new one",
    "firmware_py/base/crashguard.py": "writes its counter and its reason",
    "firmware_py/base/memory.py": "the kernel's files",
    "firmware_py/base/paths.py": "a lock",
    "firmware_py/base/service.py": "the kernel's files",
    "firmware_py/base/stderr.py": "/dev/null",
    "firmware_py/link/mailbox.py": "a file in memory, to be mapped",
    "firmware_py/state/presets.py": "a lock",
    "firmware_py/state/store.py": "a lock",
}
"""Modules of the control process that open files by themselves, and what they open."""
IN_CONTROL_PROCESS = (
    *("bank", "device", "models"),
    *(f"firmware_py/{room}" for room in ("base", "control", "link", "rooms", "state")),
)


def opening_calls(tree: ast.AST) -> Iterator[str]:
    """Calls that open a file by its path: open, os.open, and read_text and the like of a path."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name("open"):
                    by_descriptor = isinstance(node.args[0], ast.Call)
                    if not (by_descriptor and "open_regular" in ast.unparse(node.args[0])):
                        yield "open"
                case ast.Attribute(ast.Name("os" | "io"), "open"):
                    yield "os.open"
                case ast.Attribute(_, "read_text" | "read_bytes" | "write_text" | "write_bytes"):
                    yield node.func.attr


def test_the_control_process_opens_files_by_the_functions_that_cannot_block() -> None:
    """A pipe or a device in the place of a file would stop the knobs: see models/reading.py."""
    found = set()
    for _, path in sources():
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(tuple(f"{folder}/" for folder in IN_CONTROL_PROCESS)):
            calls = set(opening_calls(ast.parse(path.read_text())))
            if calls:
                found.add(name)
                assert name in OPENERS, f"{name} calls {', '.join(sorted(calls))}: use read_file"
    assert found == set(OPENERS), "take those that open nothing out of OPENERS"


def test_files_of_c_are_short() -> None:
    for folder in ("dsp", "firmware_py"):
        for path in (ROOT / folder).rglob("*.[ch]"):
            assert path.read_text().count("\n") <= FILE_LINES, path


def test_files_and_functions_are_short() -> None:
    for _, path in sources():
        text = path.read_text()
        assert text.count("\n") <= FILE_LINES, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= FUNCTION_LINES, f"{path}: {node.name} has {lines} lines"


def test_lines_of_c_and_makefile_fit_100_columns() -> None:
    """ruff checks those of Python."""
    folders = [ROOT / name for name in ("dsp", "firmware_py", "tests")]
    code = [
        path for suffix in ("c", "h", "cpp") for f in folders for path in f.rglob(f"*.{suffix}")
    ]
    for path in [ROOT / "Makefile", *code]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert len(line) <= 100, f"{path.relative_to(ROOT)}:{number}"


def loaded(statement: str) -> set[str]:
    """Top-level packages in a fresh interpreter after a statement."""
    script = (
        f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=HANG_S
    )
    return set(done.stdout.split("\n")[-2].split())


def test_the_audio_process_loads_pyo_and_the_kernel_only() -> None:
    """All that it loads is locked in memory."""
    assert (
        not loaded("import firmware_py.audio.process, firmware_py.link.mailbox, dsp.graph")
        & NOT_IN_AUDIO
    )


@pytest.mark.parametrize(
    "statement",
    [
        "import firmware_py.control.process",
        "from firmware_py.commands.table import build_parser\nbuild_parser()",
    ],
    ids=["control process", "command line"],
)
def test_desk_packages_stay_off_the_board(statement: str) -> None:
    assert not loaded(statement) & DESK_ONLY


@pytest.mark.parametrize(
    "statement",
    [
        "from firmware_py.commands.table import build_parser\nbuild_parser()",
        "from firmware_py.desk.screen import complete\ncomplete({'version': ''})",
    ],
    ids=["--help", "status"],
)
def test_the_command_line_loads_nothing_heavy(statement: str) -> None:
    """`nverb --help`, `nverb status` and completion must be fast and small on a board."""
    assert not loaded(statement) & (NOT_IN_AUDIO | {"pyo"})


@pytest.mark.parametrize("command", ["set", "get", "status"])
def test_short_commands_load_no_module_that_takes_long(command: str) -> None:
    """They take a good part of a second on a small board, most of it imports."""
    statement = (
        "from firmware_py.commands.table import build_parser\n"
        f"build_parser(['{command}'])\n"
        "import device.controls, firmware_py.desk.screen, firmware_py.link.client"
    )
    slow = {"dataclasses", "email", "inspect", "importlib.metadata", "shutil", "subprocess"}
    assert not (loaded(statement) - loaded("pass")) & slow


def test_commands_loaded_alone_are_what_they_are_among_all() -> None:
    def helps(modules: list[str]) -> dict[str, str]:
        parser = table.build_parser(modules)
        action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        return {word: child.format_help() for word, child in action.choices.items()}

    among_all = helps(list(table.COMMANDS))
    assert list(among_all) == list(table.COMMANDS)
    for word in table.COMMANDS:
        assert helps([word]) == {word: among_all[word]}


def test_no_child_process_imports_from_the_current_folder() -> None:
    """Without -P a stranger's json.py in the folder where a command starts would run."""
    for _, path in sources():
        for line in path.read_text().splitlines():
            if "[sys.executable" in line:
                assert '[sys.executable, "-P", ' in line, f"{path}: {line.strip()}"


@pytest.mark.live
def test_live_tests_run_one_after_another(request: pytest.FixtureRequest) -> None:
    """On one worker of pytest-xdist. Where groups are ignored, nothing else would tell."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    assert not is_worker or request.node.nodeid.endswith("@live"), "needs --dist loadgroup"
