"""The kernel on aarch64 and armv7: cross-compiled, run by qemu's user emulation, compared with
x86-64 and with float64.

`make test-arm` installs the compilers and the emulator; otherwise these tests are skipped if one is
missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from build_c import build
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from dsp.simd_builds import ENGINE_SOURCES

# machine, compiler, emulator, processor, expected build, further flags
TARGETS = {
    "aarch64": ("aarch64", "aarch64-linux-gnu-gcc", "qemu-aarch64", "cortex-a53", "neon", []),
    "armv7 with NEON": ("armv7l", "arm-linux-gnueabihf-gcc", "qemu-arm", "cortex-a8", "neon", []),
    "armv7 without": (
        "armv7l",
        "arm-linux-gnueabihf-gcc",
        "qemu-arm",
        "cortex-a8",
        "scalar",
        ["-DNV_BASELINE_ONLY"],
    ),
}
CASES = [
    {"block": 64, "taps": 97536, "inputs": 2, "channels": 2, "blocks": 1700},
    {"block": 64, "taps": 20000, "inputs": 2, "channels": 4, "blocks": 500, "change": 200},
    {"block": 16, "taps": 3000, "inputs": 1, "channels": 2, "blocks": 800, "change": 301},
    {"block": 256, "taps": 60000, "inputs": 1, "channels": 1, "blocks": 300},
    {"block": 1024, "taps": 5000, "inputs": 2, "channels": 2, "blocks": 30, "change": 11},
    {"block": 128, "taps": 2, "inputs": 2, "channels": 2, "blocks": 30},
]


# One worker of pytest-xdist, so that each program is compiled once.
pytestmark = pytest.mark.xdist_group("arm")


@pytest.fixture(scope="module", params=TARGETS)
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, list[str]]:
    machine, gcc, qemu, cpu, _, flags = TARGETS[request.param]
    for tool in (gcc, qemu):
        if shutil.which(tool) is None:
            assert "NVERB_TEST_ARM" not in os.environ, f"{tool} is missing"
            pytest.skip(f"{tool} is missing: make test-arm installs it")
    folder = tmp_path_factory.mktemp("arm")
    program = build(folder, "dump.c", machine=machine, gcc=gcc, flags=["-static", *flags])
    return request.param, program, [qemu, "-cpu", cpu]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("x86"), "dump.c", machine=os.uname().machine)


@pytest.fixture(scope="module")
def rooms_here(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.float32]:
    program = build(
        tmp_path_factory.mktemp("x86"),
        "rooms.c",
        machine=os.uname().machine,
        sources=["synthesis.c"],
    )
    return rooms([program])


def rooms(command: list[str | Path]) -> NDArray[np.float32]:
    done = subprocess.run([*command, "1", "20"], check=True, capture_output=True)
    return np.frombuffer(done.stdout, np.float32)


def dump(command: list[str], case: dict[str, int]) -> tuple[list[NDArray[np.float64]], str]:
    """IR, second IR, inputs, outputs; and the name of the SIMD build."""
    words = [f"{key}={value}" for key, value in case.items()]
    done = subprocess.run([*command, *words], check=True, capture_output=True)
    data, parts, frames = np.frombuffer(done.stdout, np.float32), [], case["blocks"] * case["block"]
    shapes = [
        (case["channels"], case["taps"]),
        (case["channels"], case["taps"] // 2),
        (case["inputs"], frames),
        (2, frames),
    ]
    for shape in shapes:
        size = shape[0] * shape[1]
        parts.append(data[:size].reshape(shape).astype(float))
        data = data[size:]
    assert not len(data)
    return parts, done.stderr.decode().strip()


def db(difference: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    return 20 * float(np.log10(np.abs(difference).max() / np.abs(reference).max() + 1e-30))


@pytest.mark.parametrize(
    "case",
    CASES,
    ids=lambda c: f"{c['block']} frames, {c['taps']} taps, {c['inputs']} to {c['channels']}",
)
def test_arm_output_matches_x86(
    target: tuple[str, Path, list[str]], here: Path, case: dict[str, int]
) -> None:
    """Within -120 dB of the peak, also through a change of IR; before it, within -120 dB of
    float64."""
    name, program, qemu = target
    (ir, _, sound, out), simd = dump([*qemu, str(program)], case)
    assert simd == TARGETS[name][4]
    (*same, expected), _ = dump([str(here)], case)
    np.testing.assert_allclose(same[0], ir, rtol=1e-5, atol=1e-12)  # expf() may round differently
    quiet = case.get("change", case["blocks"]) * case["block"]
    assert db(out - expected, expected) < -120
    x, h = sound[:, :quiet], ir
    if len(h) == 4:
        truth = [sum(oaconvolve(x[i], h[2 * i + o])[:quiet] for i in range(2)) for o in range(2)]
    else:
        truth = [oaconvolve(x[min(o, len(x) - 1)], h[min(o, len(h) - 1)])[:quiet] for o in range(2)]
    assert db(out[:, :quiet] - np.array(truth), np.array(truth)) < -120


def test_arm_makes_the_rooms_of_x86(
    target: tuple[str, Path, list[str]], rooms_here: NDArray[np.float32]
) -> None:
    """Within -120 dB of the loudest sample."""
    name, program, qemu = target
    machine, gcc, *_, flags = TARGETS[name]
    there = build(
        program.parent,
        "rooms.c",
        machine=machine,
        gcc=gcc,
        flags=["-static", *flags],
        sources=["synthesis.c"],
    )
    assert db(rooms([*qemu, there]) - rooms_here.astype(float), rooms_here) < -120


@pytest.mark.parametrize(("main", "source"), [("layers", "dense"), ("taps", "pulses")])
def test_arm_computes_the_numbers_of_x86(
    target: tuple[str, Path, list[str]], here: Path, main: str, source: str
) -> None:
    """Integers are equal; others within -100 dB of the largest."""
    name, program, qemu = target
    machine, gcc, *_, flags = TARGETS[name]
    there = build(
        program.parent,
        f"{main}.c",
        machine=machine,
        gcc=gcc,
        flags=["-static", *flags],
        sources=[f"{source}.c"],
    )
    ours = build(here.parent, f"{main}.c", machine=os.uname().machine, sources=[f"{source}.c"])
    found, expected = (
        np.frombuffer(
            subprocess.run([*command, "1", "12"], check=True, capture_output=True).stdout,
            np.float32,
        )
        for command in ([*qemu, there], [ours])
    )
    assert len(found) > 1000
    if main == "layers":
        np.testing.assert_array_equal(found, expected)
    assert db(found - expected.astype(float), expected) < -100


def test_arm_survives_hostile_input(target: tuple[str, Path, list[str]]) -> None:
    """A short run of fuzz.c, whose own checks abort; sanitizers do not run under qemu."""
    name, program, qemu = target
    machine, gcc, *_, flags = TARGETS[name]
    fuzz = build(
        program.parent,
        "fuzz.c",
        machine=machine,
        gcc=gcc,
        flags=["-static", *flags],
        sources=ENGINE_SOURCES,
    )
    done = subprocess.run(
        [*qemu, fuzz, "100", "1", program.parent / "finding"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[:2000]


def test_arm_threads_share_port(target: tuple[str, Path, list[str]]) -> None:
    """port_stress.c on a processor with a weaker memory order; qemu emulates it as far as it
    translates barriers."""
    name, program, qemu = target
    machine, gcc, *_, flags = TARGETS[name]
    stress = build(
        program.parent,
        "port_stress.c",
        machine=machine,
        gcc=gcc,
        flags=["-static", *flags],
        sources=["port.c", "reblock.c"],
    )
    done = subprocess.run([*qemu, stress], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:2000]
