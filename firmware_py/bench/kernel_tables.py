"""`nverb bench kernel`: the figures as text."""

from __future__ import annotations

from firmware_py.bench.kernel_figures import (
    FADE_FRAMES,
    PAIRS,
    TAPS,
    ChangeCost,
    Counts,
    Error,
    KernelFigures,
    LateCost,
    PairedRow,
    PlanRow,
    TimeRow,
)
from firmware_py.jack.defaults import RATE_HZ
from firmware_py.state.settings import Settings

BOARDS_GB_S = (("Cortex-A8", 0.5), ("Cortex-A53", 1.5))
SHAPE_BARS = {"8 s": 1.25, "mono in": 0.75, "true stereo": 1.6}
WORST_BAR = 1.10
"""Of the worst block over the mean, without a change of IR."""


def table(figures: KernelFigures) -> str:
    """The text of `nverb bench kernel`."""
    lines = [
        f"Instructions, counted: stereo room of {TAPS / RATE_HZ:.2f} s, {RATE_HZ} Hz, float32",
        "",
        f"{'':9}{'frames':>6}{'Ir / block':>12}{'zita':>10}{'ratio':>8}{'worst / mean':>14}"
        f"{'memory':>11}{'products read':>15}  partitions",
    ]
    for name, counts in figures["counts"].items():
        lines += _counts(name, counts)
    for name, needs in figures["needs"].items():
        lines.append(f"{name:9}cannot be counted here; run: {needs}")
    boards = ", ".join(f"{board} {gb * 1000:.0f} MB/s" for board, gb in BOARDS_GB_S)
    lines += ["", f"Memory bandwidth of the boards: {boards}"]
    lines += ["", "Other rooms at 64 frames, over the stereo room, counted"]
    lines += [f"{name:9}{_shapes(shapes)}" for name, shapes in figures["shapes"].items()]
    lines += ["", "The late field at 64 frames, instructions of a block, counted"]
    lines += [f"{name:9}{_late(late)}" for name, late in figures["late"].items()]
    fade_ms = 1000 * FADE_FRAMES / RATE_HZ
    lines += ["", f"A change of IR at 64 frames with a crossfade of {fade_ms:.0f} ms, counted"]
    lines += [f"{name:9}{_change(change, 1.3, 11)}" for name, change in figures["change"].items()]
    if "longest_change" in figures:
        lines.append(
            f"{'here':9}IR of the default maximum, {Settings().max_ir_s:g} s: "
            f"{_change(figures['longest_change'], 1.4, 13)}"
        )
    work_bytes = [row["work_bytes"] for part in figures["counts"].values() for row in part["rows"]]
    mib = max(work_bytes, default=0) / 2**20
    lines += [
        "",
        f"Memory beyond 32 bytes per tap and channel: {mib:.2f} MiB ({verdict(mib, 1)})",
    ]
    lines.append(_error(figures["error"]))
    if "paired" in figures:
        lines += _paired(figures["paired"])
    if "times" in figures:
        lines += _times(figures["times"])
        lines += [
            "",
            "Block after 1 s of loud sound and 60 s of silence, over a block of noise "
            f"(time, paired): {figures['denormals']:.2f} (bar 1)",
        ]
    return "\n".join(lines)


def plan_table(rows: list[PlanRow]) -> str:
    """The text of `nverb bench kernel --plan`."""
    lines = [
        f"{'partitions':>16}{'first tap':>11}{'delay':>7}{'ahead':>7}{'estimate':>10}"
        f"{'counted':>10}{'':>8}"
    ]
    for row in rows:
        size = f"{row['partitions']} x {row['partition_frames']}"
        ahead = "yes" if row["works_ahead"] else "no"
        lines.append(
            f"{size:>16}{row['first_tap']:11}{row['delay_blocks']:7}{ahead:>7}"
            f"{_estimate(row['estimate'], row['counted'])}"
        )
    total, count = sum(r["estimate"] for r in rows), sum(r["counted"] for r in rows)
    lines.append(f"{'all':>16}{'':11}{'':7}{'':7}{_estimate(total, count)}")
    return "\n".join(lines)


def verdict(value: float, bar: float) -> str:
    """The bar, and by how much `value` exceeds it."""
    return f"bar {bar:g}" + ("" if value <= bar else f", missed by {100 * (value / bar - 1):.0f} %")


def _estimate(estimate: float, counted: float) -> str:
    return f"{estimate:10.0f}{counted:10.0f}{100 * (estimate / counted - 1):+7.0f}%"


def _counts(name: str, counts: Counts) -> list[str]:
    lines = []
    for row in counts["rows"]:
        peer = f"{'-':>10}{'-':>8}"
        if "zita_ir" in row and "over_zita" in row:
            peer = f"{row['zita_ir']:10.0f}{row['over_zita']:8.3f}"
        lines.append(
            f"{name:9}{row['block']:6}{row['ir']:12.0f}{peer}{row['worst_over_mean']:14.3f}"
            f"{row['touched_mb_s']:6.0f} MB/s{row['product_bytes'] / 1000:9.1f} kB/bl"
            f"  {row['partitions']}"
        )
    if counts["zita_needs"]:
        lines.append(f"{'':9}zita is not available: {counts['zita_needs']}")
        return lines
    most = max(row["over_zita"] for row in counts["rows"])
    worst = max(row["worst_over_mean"] for row in counts["rows"])
    lines.append(
        f"{'':9}ratio: {verdict(most, counts['bar'])}; "
        f"worst block over mean: {verdict(worst, WORST_BAR)}"
    )
    return lines


def _shapes(shapes: dict[str, float]) -> str:
    return "; ".join(
        f"{key} {value:.3f} ({verdict(value, SHAPE_BARS[key])})" for key, value in shapes.items()
    )


def _late(late: LateCost) -> str:
    return (
        f"{late['ir']:.0f}, at most {late['worst']:.0f}: {verdict(late['ir'], late['bar'])}; "
        f"with movement {late['moving_ir']:.0f}; with movement and shimmer {late['all_ir']:.0f}: "
        f"{verdict(late['all_ir'], late['all_bar'])}"
    )


def _change(change: ChangeCost, worst_bar: float, extra_bar: float) -> str:
    worst, most = change["worst_over_mean"], change["extra_blocks_most"]
    return (
        f"worst block {worst:.3f} of the mean ({verdict(worst, worst_bar)}); extra work within "
        f"150 ms {change['extra_blocks']:.1f} mean blocks, at most {most:.1f} "
        f"({verdict(most, extra_bar)}); all input in the new room after {change['ms']:.0f} ms"
    )


def _error(error: Error) -> str:
    rms = error["rms_db"]
    return (
        f"Error against float64: rms {rms:.1f} dB ({verdict(-130 / rms * 130, 130)} dB below), "
        f"peak {error['peak_db']:.1f} dB; added latency {error['latency_frames']} frames"
    )


def _paired(rows: list[PairedRow]) -> list[str]:
    lines = [
        "",
        f"Processor time of each peer over ours, the median of {PAIRS} pairs (and the range): C "
        "and C++ over our kernel in C, Python over our kernel called by Python",
        "",
    ]
    for row in rows:
        start = f"{row['engine']:20}{row['block']:6}"
        if "needs" in row:
            lines.append(f"{start}   not available: {row['needs']}")
        else:
            ratio, least, most = row["ratio"], row["least"], row["most"]
            lines.append(f"{start}{ratio:10.2f}   ({least:.2f} to {most:.2f})")
    return lines


def _times(rows: list[TimeRow]) -> list[str]:
    lines = [
        "",
        "Times of a block in us on this machine under its current load: "
        "noisy, do not quote these figures",
        "",
        f"{'':20}{'frames':>6}{'':>10}{'median':>10}{'99.9 %':>10}{'maximum':>10}{'processor':>11}",
    ]
    for row in rows:
        start = f"{row['engine']:20}{row['block']:6}{'paced' if row['paced'] else 'free':>10}"
        if "needs" in row:
            lines.append(f"{start}   not available: {row['needs']}")
            continue
        cpu = f"{row['cpu_us']:.1f}" if "cpu_us" in row else ""
        lines.append(
            f"{start}{row['median_us']:10.1f}{row['p999_us']:10.1f}{row['worst_us']:10.1f}{cpu:>11}"
        )
    return lines
