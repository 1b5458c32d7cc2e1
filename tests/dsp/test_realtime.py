"""The rules of the audio callback: watch.c counts allocations, locks and system calls of the
complete pyo graph."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_engine import IMPULSE, set_params

from dsp import _engine
from dsp.graph import OfflineGraph

HERE = Path(__file__).parent
BLOCKS = 100_000


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """10^5 blocks with a change of room every 50 on average, jumping controls, and loud, silent or
    invalid input."""
    library = tmp_path_factory.mktemp("watch") / "watch.so"
    source = HERE / "watch.c"
    subprocess.run(
        ["gcc", "-O1", "-shared", "-fPIC", "-fno-builtin", "-o", library, source, "-ldl"],
        check=True,
    )
    environment = os.environ | {"LD_PRELOAD": str(library)}
    command = [sys.executable, HERE / "watched.py", str(BLOCKS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_watch_counts_known_calls(watched: Any) -> None:
    controls = watched["controls"]
    assert controls["allocation"]["allocations"] >= 1
    assert controls["in the graph"]["allocations"] >= 25
    assert controls["lock"]["locks"] == 1
    if watched["sees_system_calls"]:
        assert controls["system call"]["system_calls"] == 1


def test_callback_makes_no_allocation_lock_or_system_call(watched: Any) -> None:
    assert watched["blocks"] >= BLOCKS
    assert watched["changes"] > 1000
    assert watched["played"] > 1000
    assert watched["total"]["allocations"] == 0
    assert watched["total"]["locks"] == 0
    if not watched["sees_system_calls"]:
        pytest.skip("system calls are counted on x86-64 Linux 5.11 and newer only")
    assert watched["total"]["system_calls"] == 0, f"numbers {watched['system_calls']}"


TINY = np.float32(1e-40)
"""A denormal number."""


def test_kernel_flushes_denormals_and_restores_mode() -> None:
    """A complete transform of denormals gives zeros, and the thread's mode is restored."""
    kernel = _engine.Kernel(_engine.plan(64, 1000, 2), 64)
    kernel.load(np.ones((2, 1), np.float32))
    sound, out = np.zeros((2, 640), np.float32), np.empty((2, 640), np.float32)
    kernel.process(sound, out)
    kernel.process(np.full((2, 640), TINY), out)
    assert not out.any()
    assert (np.full(8, TINY) * np.float32(1)).all()
    kernel.process(np.full((2, 640), 1e-30, np.float32), out)
    assert out[:, -64:].all()  # small normal numbers pass


def test_engine_flushes_denormals_in_complete_block() -> None:
    graph = OfflineGraph(rate_hz=48000, block_frames=64, max_taps=64)
    set_params(graph, mix=0)
    graph.port.load_ir(IMPULSE.repeat(2, 0))
    graph.start()
    try:
        assert not graph.process(np.full((64, 2), TINY)).any()
        assert graph.process(np.full((64, 2), 1e-30, np.float32)).all()
        assert (np.full(8, TINY) * np.float32(1)).all()
    finally:
        graph.close()
