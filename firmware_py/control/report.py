"""What `nverb status` shows. The field names are the JSON keys of `nverb status --json`: an
interface, not to be renamed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from device import health
from device.board import Board
from dsp._engine import Meters, Port, simd
from firmware_py.base import crashguard
from firmware_py.control.pedal import Pedal

FLOOR_DB = -120.0
ALIVE_MS = 500


@dataclass(frozen=True)
class RoomStatus:
    bank: str
    path: str
    made_in_ms: float
    fault: str
    """Why the last room could not be made; "" if it could."""


@dataclass(frozen=True)
class ProcessStatus:
    pid: int
    up_s: float


@dataclass(frozen=True)
class BoardStatus:
    profile: str
    faults: dict[str, str]
    """Texts by part, see `Board.faults`."""
    apart: dict[str, float]
    """See `Board.distances`."""


@dataclass(frozen=True)
class AudioStatus:
    """Peaks and `worst_load` are those since the last status."""

    pid: int
    alive: bool
    rate_hz: int
    block_frames: int
    inputs: int
    blocks: int
    late_blocks: int
    load: float
    worst_load: float
    input_db: list[float]
    output_db: list[float]
    limited_samples: int
    nonfinite_samples: int
    offset_blocks: int
    playing_serial: int
    playing_since_ns: int
    fading: bool


@dataclass(frozen=True)
class Status:
    version: str
    simd: str
    machine: Mapping[str, object]
    """See `device.health.read`."""
    controls: dict[str, float]
    room: RoomStatus
    safe_start: str
    control: ProcessStatus
    preset: str
    board: BoardStatus | None
    doors: list[str]
    """One line for each input: MIDI, OSC."""
    audio: AudioStatus | None

    def json(self) -> dict[str, object]:
        return asdict(self)


def status(pedal: Pedal) -> Status:
    """The status of the pedal now. It takes the peaks: the next status has those after this one.

    Control process.
    """
    from firmware_py.base.version import version

    port = pedal.mailbox.port
    return Status(
        version=version(),
        simd=simd(),
        machine=health.read(),
        controls=dict(pedal.values),
        room=RoomStatus(
            bank=pedal.rooms.source.name,
            path=pedal.bank,
            made_in_ms=round(pedal.rooms.made_in_ms, 2),
            fault=pedal.rooms.fault,
        ),
        safe_start=crashguard.safe_start_reason(),
        control=ProcessStatus(os.getpid(), round(time.monotonic() - pedal.started, 1)),
        preset=pedal.presets.describe(),
        board=_board(pedal.board) if pedal.board is not None else None,
        doors=[each.describe() for each in pedal.inputs],
        audio=_audio(port, pedal.leds.peaks(port.meters(take=True)), pedal.load.mean)
        if port is not None
        else None,
    )


def _board(board: Board) -> BoardStatus:
    return BoardStatus(
        profile=board.profile.name,
        faults={part: fault.text for part, fault in board.faults().items()},
        apart=board.distances(),
    )


def _audio(port: Port, meters: Meters, mean_load: float) -> AudioStatus:
    age_ms = (time.monotonic_ns() - meters.heartbeat_ns) / 1e6
    return AudioStatus(
        pid=meters.pid,
        alive=age_ms < ALIVE_MS,
        rate_hz=port.rate_hz,
        block_frames=port.block_frames,
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


def decibels(amplitude: float) -> float:
    """Amplitude to dBFS, rounded to 0.1, at least FLOOR_DB."""
    return round(max(20 * math.log10(amplitude), FLOOR_DB), 1) if amplitude > 0 else FLOOR_DB
