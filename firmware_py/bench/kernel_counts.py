"""`nverb bench kernel`: the counted figures: blocks, other rooms, changes of IR, stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from firmware_py.bench.kernel_counter import InstructionCounter, counted
from firmware_py.bench.kernel_figures import (
    BLOCKS,
    FADE_FRAMES,
    TAPS,
    ChangeCost,
    CountRow,
    Counts,
    LateCost,
    PlanRow,
    say,
)
from firmware_py.jack.defaults import RATE_HZ

LATE_BAR, ALL_BAR = 6000, 12_000
"""Of the late field, and of it with movement and shimmer, with AVX2; the lines of NEON are half as
wide."""


def measure_counts(counter: InstructionCounter) -> Counts:
    """Instructions per block of our kernel and of zita-convolver, for each block size."""
    rows = []
    zita = counter.build_zita()
    for block in BLOCKS:
        say(f"{counter.platform.name}, {block} frames")
        ours = counted(counter, block=block)
        row: CountRow = {
            "block": block,
            "ir": ours.mean,
            "worst_over_mean": max(ours.ir) / ours.mean,
            "partitions": ours.partitions,
            "touched_mb_s": ours.touched_bytes * RATE_HZ / block / 1e6,
            "product_bytes": ours.product_bytes,
            "work_bytes": ours.kernel_bytes + ours.spectra_bytes - 2 * 32 * TAPS,
        }
        if isinstance(zita, Path):
            # zita's threads carry work across the marks: measure 32 of its largest partitions.
            blocks = 32 * 8192 // block
            counts, _ = counter.count(zita, block=block, taps=TAPS, blocks=blocks)
            row["zita_ir"] = counts[0] / blocks
            row["over_zita"] = row["ir"] / row["zita_ir"]
        rows.append(row)
    return {
        "bar": counter.platform.bar,
        "rows": rows,
        "zita_needs": zita if isinstance(zita, str) else "",
    }


def measure_shapes(counter: InstructionCounter) -> dict[str, float]:
    """Mean instructions of other rooms at 64 frames, over those of the stereo room."""
    say(f"{counter.platform.name}, other rooms")
    stereo = counted(counter).mean
    return {
        "8 s": counted(counter, taps=8 * RATE_HZ).mean / stereo,
        "mono in": counted(counter, inputs=1).mean / stereo,
        "true stereo": counted(counter, channels=4).mean / stereo,
    }


def measure_late(counter: InstructionCounter) -> LateCost:
    """Instructions of a block of the late field at 64 frames."""
    say(f"{counter.platform.name}, late field")
    program, wider = counter.build("late"), 2 if counter.platform.qemu else 1
    counts, moving, all_on = (
        counter.count(program, **on)[0]
        for on in ({}, {"movement": 100}, {"movement": 100, "shimmer": 100})
    )
    return {
        "ir": float(np.mean(counts)),
        "worst": float(max(counts)),
        "bar": LATE_BAR * wider,
        "moving_ir": float(np.mean(moving)),
        "all_ir": float(np.mean(all_on)),
        "all_bar": ALL_BAR * wider,
    }


def measure_change(counter: InstructionCounter, taps: int = TAPS, block: int = 64) -> ChangeCost:
    """Change the IR at eight phases of the longest stage's period and compare with the mean.

    After the first 150 ms only the shares in the windows of the fade cost more, 1 to 2 %.
    """
    worst = longest = 0.0
    extras = []
    soon = round(0.15 * RATE_HZ / block)
    period = counted(counter, block=block, taps=taps, blocks=1).stages[-1].size // block
    for phase in range(8):
        say(f"{counter.platform.name}, change of IR of {taps / RATE_HZ:.1f} s, {phase + 1} of 8")
        at = period + phase * period // 8
        blocks = at + max(soon, 3 * period)
        done = counted(counter, block=block, taps=taps, blocks=blocks, change=at, fade=FADE_FRAMES)
        quiet = float(np.mean(done.ir[:period]))
        extras.append(sum(done.ir[at : at + soon]) / quiet - soon)
        worst = max(worst, max(done.ir) / quiet)
        longest = max(longest, 1000 * done.change_blocks * block / RATE_HZ)
    return {
        "worst_over_mean": worst,
        "extra_blocks": float(np.mean(extras)),
        "extra_blocks_most": max(extras),
        "ms": longest,
    }


def measure_plan(counter: InstructionCounter, block: int, taps: int, inputs: int) -> list[PlanRow]:
    """The estimated and counted cost of each stage.

    A stage's cost is the difference between runs with and without it, later stages left out.
    """
    stages = counted(counter, block=block, taps=taps, inputs=inputs).stages
    rows: list[PlanRow] = []
    before = before_estimate = 0.0
    for n, stage in enumerate(stages, 1):
        say(f"stage {n} of {len(stages)}")
        part = counted(counter, block=block, taps=taps, inputs=inputs, stages=n)
        rows.append(
            {
                "partition_frames": stage.size,
                "partitions": stage.partitions,
                "first_tap": stage.offset,
                "delay_blocks": stage.delay,
                "works_ahead": bool(stage.early),
                "estimate": part.estimate - before_estimate,
                "counted": part.mean - before,
            }
        )
        before, before_estimate = part.mean, part.estimate
    return rows
