"""The types of the pedal's status, as the control process sends it (control/pedal.py)."""

from __future__ import annotations

from typing import TypedDict


class ReportedAudio(TypedDict):
    """The audio process. Loads are shares of the block period; levels are (left, right) in dBFS."""

    pid: int
    alive: bool
    """A block ended within the last 0.5 s."""
    rate_hz: int
    block_frames: int
    inputs: int
    blocks: int
    late_blocks: int
    load: float
    worst_load: float
    """Since the last status."""
    input_db: tuple[float, float]
    output_db: tuple[float, float]
    limited_samples: int
    nonfinite_samples: int
    offset_blocks: int
    playing_serial: int
    playing_since_ns: int
    fading: bool


class ReportedRoom(TypedDict):
    """The room that plays. path: as given to `nverb use`; fault: empty if the room is as asked."""

    bank: str
    path: str
    made_in_ms: float
    fault: str


class MachineStatus(TypedDict):
    """See device.health.read."""

    temperature_c: float | None
    warnings: list[str]
    governors: list[str]


class ReportedBoard(TypedDict):
    """faults: text by part; apart: by control, the travel from its knob to its value, -1..1."""

    profile: str
    faults: dict[str, str]
    apart: dict[str, float]


class ControlStatus(TypedDict):
    pid: int
    up_s: float


class PedalStatus(TypedDict):
    """audio: None without an audio process; board: None without a board profile."""

    version: str
    simd: str
    machine: MachineStatus
    controls: dict[str, float]
    room: ReportedRoom
    safe_start: str
    """Why the pedal started safe; empty if it did not."""
    control: ControlStatus
    preset: str
    board: ReportedBoard | None
    doors: list[str]
    """MIDI and OSC: one line each."""
    audio: ReportedAudio | None


class SlotStatus(TypedDict):
    """An installed bank or model."""

    kind: str
    reference: str
    in_use: bool
    plays: bool


class CompleteStatus(PedalStatus):
    """With what the asking process adds, see firmware_py.desk.screen.complete."""

    slots: list[SlotStatus]
    versions: dict[str, str]
