"""Hostile layouts, spectra, IRs, ports and sessions under AddressSanitizer and
UndefinedBehaviorSanitizer.

`make acceptance-kernel` runs many more inputs: NVERB_FUZZ_INPUTS. For ThreadSanitizer see
test_port.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from build_c import SANITIZE, build

from dsp.simd_builds import ENGINE_SOURCES

# One worker of pytest-xdist, so that the kernel is compiled once.
pytestmark = pytest.mark.xdist_group("sanitizers")

INPUTS = int(os.environ.get("NVERB_FUZZ_INPUTS", "1500"))


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("fuzz"), "fuzz.c", flags=SANITIZE, sources=ENGINE_SOURCES)


def test_hostile_input_is_harmless(fuzz: Path) -> None:
    finding = fuzz.with_name("finding")
    done = subprocess.run(
        [fuzz, str(INPUTS), "1", finding], check=False, capture_output=True, text=True
    )
    kept = Path("/tmp/nverb-fuzz-finding")
    if done.returncode:
        shutil.copy(finding, kept)  # `fuzz FILE` reproduces it
    assert done.returncode == 0, f"{kept}: {done.stderr[:4000]}"


@pytest.mark.parametrize(
    ("main", "sources", "seeds"),
    [
        ("rooms", ["synthesis.c"], 150),
        ("falls", ["shaping.c", "decay_lines.c"], 40),
        ("taps", ["pulses.c"], 40),
        ("layers", ["dense.c"], 40),
    ],
)
def test_no_access_of_a_room_is_out_of_bounds(
    fuzz: Path, main: str, sources: list[str], seeds: int
) -> None:
    """What a new room is made with, on drawn tables; all numbers are finite."""
    program = build(fuzz.parent, f"{main}.c", flags=SANITIZE, sources=sources)
    done = subprocess.run([program, "1", str(seeds)], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr[:4000]
    numbers = np.frombuffer(done.stdout, np.float32)
    assert len(numbers) and np.isfinite(numbers).all()


def test_sanitizers_detect_overflow(tmp_path: Path) -> None:
    """Negative control: a read past the end of a block, as in a fuzz finding."""
    source = tmp_path / "wrong.c"
    source.write_text(
        "#include <stdlib.h>\n"
        "int main(int n, char **v) { (void)v; int *volatile p = malloc(4); return p[n]; }\n"
    )
    subprocess.run(["gcc", *SANITIZE, "-o", tmp_path / "wrong", source], check=True)
    done = subprocess.run([tmp_path / "wrong"], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr or "runtime error" in done.stderr
