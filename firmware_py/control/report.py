"""Makes the status of the pedal that `nverb status` shows: firmware_py.link.status."""

from __future__ import annotations

import math
import os
import time

from device import health
from device.board import Board
from device.faults import grouped
from dsp._engine import Meters, Port, simd
from firmware_py.base import crashguard
from firmware_py.base.paths import runtime_dir
from firmware_py.control.pedal import Pedal
from firmware_py.jack import report as jack_report
from firmware_py.link.connections import AudioConnections
from firmware_py.link.status import (
    AudioStatus,
    BoardStatus,
    PedalStatus,
    PortsStatus,
    PresetStatus,
    ScenesStatus,
)

FLOOR_DB = -120.0
ALIVE_MS = 500


def status(pedal: Pedal) -> PedalStatus:
    """The status of the pedal now. It takes the peaks: the next status has those after this one.

    Control process.
    """
    from firmware_py.base.version import version

    port = pedal.mailbox.port
    return PedalStatus(
        version=version(),
        simd=simd(),
        machine=health.read(),
        controls=dict(pedal.values),
        modulated=dict(pedal.modulators.moved),
        scenes=scenes(pedal),
        room={
            "bank": pedal.rooms.source.name,
            "path": pedal.bank,
            "residual": pedal.residual,
            "made_in_ms": round(pedal.rooms.made_in_ms, 2),
            "true_stereo": pedal.rooms.is_true_stereo,
            "fault": pedal.rooms.fault,
        },
        safe_start=crashguard.safe_start_reason(),
        control={"pid": os.getpid(), "up_s": round(time.monotonic() - pedal.started, 1)},
        preset=pedal.presets.describe(),
        plays=_plays(pedal),
        board=_board(pedal.board) if pedal.board is not None else None,
        off=pedal.parts.failed,
        doors=[each.describe() for each in pedal.inputs],
        inputs=[each.status() for each in pedal.inputs],
        ports=_ports(pedal.connections.now, port),
        measuring=pedal.measuring.status,
        audio=_audio(port, pedal.leds.peaks(port.meters(take=True)), pedal.load.mean)
        if port is not None
        else None,
        jack=jack_report.read(runtime_dir()),
    )


def scenes(pedal: Pedal) -> ScenesStatus | None:
    """The scenes as a preset keeps them; None without a scene B."""
    a, b = pedal.kept()
    return ScenesStatus(a={name: a[name] for name in b}, b=b) if b else None


def _plays(pedal: Pedal) -> PresetStatus | None:
    name = pedal.presets.current
    return None if name is None else {"name": name, "changed": pedal.presets.changed}


def _board(board: Board) -> BoardStatus:
    faults = board.faults()
    return BoardStatus(
        profile=board.profile.name,
        simulated=board.profile.is_simulated,
        faults={part: fault.text for part, fault in faults.items()},
        fault_groups=grouped(faults.values()),
        apart=board.distances(),
    )


def _audio(port: Port, meters: Meters, mean_load: float) -> AudioStatus:
    age_ms = (time.monotonic_ns() - meters.heartbeat_ns) / 1e6
    return AudioStatus(
        pid=meters.pid,
        alive=age_ms < ALIVE_MS,
        rate_hz=port.rate_hz,
        block_frames=port.block_frames,
        added_frames=port.added_frames,
        inputs=port.inputs,
        blocks=meters.blocks,
        late_blocks=meters.late_blocks,
        load=mean_load,
        worst_load=meters.worst_ns * 1e-9 * port.rate_hz / port.block_frames,
        input_db=[decibels(peak) for peak in meters.input_peak],
        output_db=[decibels(peak) for peak in meters.output_peak],
        limited_samples=meters.limited_samples,
        nonfinite_samples=meters.nonfinite_samples,
        offset_blocks=meters.offset_blocks,
        playing_serial=meters.playing_serial,
        playing_since_ns=meters.playing_since_ns,
        fading=meters.fading,
    )


def _ports(connections: AudioConnections, port: Port | None) -> PortsStatus:
    return PortsStatus(
        inputs=[list(ports) for ports in connections.inputs],
        outputs=[list(ports) for ports in connections.outputs],
        automatic=connections.automatic,
        mono=connections.mono,
        feed=port.meters().input_feed if port is not None else 0,
        faults=list(connections.faults),
    )


def decibels(amplitude: float) -> float:
    """Amplitude to dBFS, rounded to 0.1, at least FLOOR_DB."""
    return round(max(20 * math.log10(amplitude), FLOOR_DB), 1) if amplitude > 0 else FLOOR_DB
