"""`nverb bench kernel`: the conditions, and the types of the figures that `--json` prints."""

from __future__ import annotations

import sys
from typing import NotRequired, TypedDict

TAPS = 97536
"""2.03 s at 48 kHz, the length of the reference plug-in's IRs."""
BLOCKS = (64, 128, 256)
"""Frames. The distribution of times is measured for the first two only."""
PAIRS = 7
"""How often the processor times of two engines are compared."""
FADE_FRAMES = 720
"""Crossfade of a change of IR: 15 ms at 48 kHz."""


class CountRow(TypedDict):
    """Counts for one block size."""

    block: int
    ir: float
    """Mean instructions per block."""
    worst_over_mean: float
    partitions: str
    touched_mb_s: float
    """Memory traffic in MB/s at the default rate."""
    product_bytes: float
    """Bytes of rings and filters that a block reads."""
    work_bytes: int
    """Memory in addition to 32 bytes per tap and channel."""
    zita_ir: NotRequired[float]
    over_zita: NotRequired[float]


class Counts(TypedDict):
    """Counts of one platform. bar: the highest allowed over_zita."""

    bar: float
    rows: list[CountRow]
    zita_needs: str
    """How to get zita-convolver; empty if it was measured."""


class ChangeCost(TypedDict):
    """A change of IR, relative to the mean block without one."""

    worst_over_mean: float
    extra_blocks: float
    """Extra work within 150 ms in mean blocks, averaged over the phases; the next one is the
    maximum."""
    extra_blocks_most: float
    ms: float
    """Longest time until all input goes into the new room."""


class Error(TypedDict):
    """Difference from convolution in float64."""

    rms_db: float
    peak_db: float
    latency_frames: int


class TimeRow(TypedDict):
    """Block times of one engine in us; `needs` instead, if the engine is not available."""

    engine: str
    block: int
    paced: bool
    median_us: NotRequired[float]
    p999_us: NotRequired[float]
    worst_us: NotRequired[float]
    cpu_us: NotRequired[float]
    """Processor time of all threads per block."""
    needs: NotRequired[str]


class PairedRow(TypedDict):
    """Processor time of a peer over ours, per block; `needs` instead if it is not available.

    Both run one after the other, PAIRS times: the load of the machine changes both alike."""

    engine: str
    block: int
    ratio: NotRequired[float]
    """The median of the ratios; then the smallest and the largest."""
    least: NotRequired[float]
    most: NotRequired[float]
    needs: NotRequired[str]


class LateCost(TypedDict):
    """Instructions of a block: the mean, the most, and what they should not exceed; then with
    movement, and with movement and shimmer."""

    ir: float
    worst: float
    bar: float
    moving_ir: float
    all_ir: float
    all_bar: float


class KernelFigures(TypedDict):
    """All figures; the dictionaries are by platform name."""

    counts: dict[str, Counts]
    shapes: dict[str, dict[str, float]]
    """Mean instructions of other rooms over those of the stereo room."""
    late: dict[str, LateCost]
    change: dict[str, ChangeCost]
    needs: dict[str, str]
    """How to make the platforms that could not be measured available."""
    error: Error
    longest_change: NotRequired[ChangeCost]
    times: NotRequired[list[TimeRow]]
    paired: NotRequired[list[PairedRow]]
    denormals: NotRequired[float]


class PlanRow(TypedDict):
    """One stage of a partition plan: its estimated and counted cost in instructions per block."""

    partition_frames: int
    partitions: int
    first_tap: int
    delay_blocks: int
    works_ahead: bool
    estimate: float
    counted: float


def say(text: str) -> None:
    """Show progress in one line if stderr is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
