"""`nverb bench kernel`: compare each figure of the convolution kernel with its bar and its peers.

The measured objects are those that the engine is made of. Instructions are counted, so they are the
same in each run; times depend on this machine and on its load.

Only this bench compiles against zita-convolver, its peer. For ARM its Debian packages are unpacked
into the user's cache folder; nothing is installed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from dsp.errors import UserError
from firmware_py.bench.kernel_counter import counters
from firmware_py.bench.kernel_counts import (
    measure_change,
    measure_counts,
    measure_late,
    measure_plan,
    measure_shapes,
)
from firmware_py.bench.kernel_figures import KernelFigures, PlanRow, say
from firmware_py.bench.kernel_tables import plan_table, table
from firmware_py.bench.kernel_times import (
    measure_denormals,
    measure_error,
    measure_paired,
    measure_times,
)
from firmware_py.jack.defaults import RATE_HZ
from firmware_py.state.settings import Settings

__all__ = ["measure", "plan", "plan_table", "table"]


def measure(*, times: bool = True, platforms: Sequence[str] = ()) -> KernelFigures:
    """All figures, for `--json` and `table`. `times`: False leaves out what is timed.

    `platforms`: of these only.
    """
    with tempfile.TemporaryDirectory() as name:
        able, needs = counters(Path(name), platforms)
        figures: KernelFigures = {
            "counts": {},
            "shapes": {},
            "late": {},
            "change": {},
            "needs": needs,
            "error": {"rms_db": 0.0, "peak_db": 0.0, "latency_frames": 0},
        }
        for counter in able:
            figures["counts"][counter.platform.name] = measure_counts(counter)
            figures["shapes"][counter.platform.name] = measure_shapes(counter)
            figures["late"][counter.platform.name] = measure_late(counter)
            figures["change"][counter.platform.name] = measure_change(counter)
        figures["error"] = measure_error()
        native = [c for c in able if not c.platform.qemu]
        if native:
            taps = round(Settings().max_ir_s * RATE_HZ)
            figures["longest_change"] = measure_change(native[0], taps)
        if native and times:
            figures["paired"] = measure_paired(native[0])
            figures["times"] = measure_times(native[0])
            figures["denormals"] = measure_denormals(native[0])
    say("")
    return figures


def plan(block: int, taps: int, inputs: int) -> list[PlanRow]:
    """The partition plan for a block size in frames, stage by stage. Raises UserError."""
    with tempfile.TemporaryDirectory() as name:
        able, unable = counters(Path(name), ("x86-64",))
        if not able:
            raise UserError(f"the kernel cannot be counted here; run: {unable['x86-64']}")
        rows = measure_plan(able[0], block, taps, inputs)
    say("")
    return rows
