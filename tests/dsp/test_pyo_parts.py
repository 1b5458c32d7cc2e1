"""Partial imports of pyo, in separate processes: another test may have imported all of it."""

from __future__ import annotations

import subprocess
import sys


def run(program: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()


def test_graph_imports_part_of_pyo() -> None:
    modules = run(
        "import sys, dsp.graph; print(*(name for name in sys.modules if name.startswith('pyo')))"
    )
    assert "pyo.lib.server" in modules
    assert not {"pyo", "pyo.lib.effects", "pyo.lib.hrtf", "pyo.lib.events", "tkinter"} & set(
        modules
    )


def test_later_pyo_import_is_complete_and_shares_classes() -> None:
    program = (
        "import dsp.graph, pyo; print(pyo.Server is dsp.graph.pyo.Server, hasattr(pyo, 'CvlVerb'))"
    )
    assert run(program) == ["True", "True"]


def test_load_uses_pyo_already_imported() -> None:
    assert run("import pyo, dsp.graph; print(pyo.Input is dsp.graph.pyo.Input)")[-1] == "True"


def test_load_imports_all_of_pyo_with_unknown_modules() -> None:
    for parts in (("server", "renamed"), ("server",)):
        program = (
            f"import sys, dsp.pyo_parts as p; p.PARTS = {parts}; found = p.load(); "
            "print('pyo' in sys.modules, *sorted(vars(found)) == sorted(p.NAMES))".replace(
                "*sorted", "sorted"
            )
        )
        assert run(program) == ["True", "True"]
