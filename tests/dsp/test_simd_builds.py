"""The table of SIMD builds against the C sources."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from dsp.simd_builds import BASELINE, KERNEL_SOURCES, Family, builds_for, family_of

DSP = Path(__file__).parents[2] / "dsp"


def test_every_declared_table_has_a_build() -> None:
    header = (DSP / "kernel_simd.h").read_text()
    declared = set(re.findall(r"^extern const nv_simd (\w+);", header, re.MULTILINE))
    assert declared == {build.table for family in get_args(Family) for build in builds_for(family)}


def test_every_kernel_source_is_listed() -> None:
    files = {path.name for path in DSP.glob("kernel*.c")}
    assert files == {*KERNEL_SOURCES, "kernel_simd.c"}


@pytest.mark.parametrize(
    ("machine", "family"),
    [
        ("x86_64", "x86_64"),
        ("aarch64", "aarch64"),
        ("armv7l", "arm"),
        ("arm", "arm"),
        ("riscv64", "other"),
    ],
)
def test_family_of_machine_names(machine: str, family: Family) -> None:
    assert family_of(machine) == family
    assert builds_for(family)[0] is BASELINE
