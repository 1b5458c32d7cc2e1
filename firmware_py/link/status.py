"""What `nverb status` shows, as the control process sends it (firmware_py.control.report).

The names are the JSON keys of `nverb status --json`: an interface, not to be renamed.
"""

from __future__ import annotations

from typing import TypedDict

from device.faults import FaultGroup
from device.health import MachineStatus


class RoomStatus(TypedDict):
    """The rooms in use, and the last room made."""

    bank: str
    path: str
    """As given to `nverb use`, see `rooms_named` in firmware_py.rooms.source."""
    residual: str
    """Of the encoded room that plays, see models.residual; "" if it is none."""
    made_in_ms: float
    true_stereo: bool
    """Made for two sources: each sounds on both sides."""
    fault: str
    """Why the last room could not be made; "" if it could."""


class ScenesStatus(TypedDict):
    """The controls that differ between scene A and B, as `nverb preset save` keeps them."""

    a: dict[str, float]
    b: dict[str, float]


class ProcessStatus(TypedDict):
    pid: int
    up_s: float


class PresetStatus(TypedDict):
    """The last preset played."""

    name: str
    changed: bool
    """A control has moved since."""


class InputStatus(TypedDict):
    """MIDI or OSC."""

    name: str
    where: str
    """ALSA or JACK, or the address."""
    ports: list[str]
    fault: str
    """Why it does not work; "" if it does."""


class BoardStatus(TypedDict):
    profile: str
    simulated: bool
    faults: dict[str, str]
    """Texts by part, see `Board.faults`."""
    fault_groups: list[FaultGroup]
    """The same, with one row for each cause."""
    apart: dict[str, float]
    """By control, the travel from its knob to its value, -1..1; see `Board.distances`."""


class AudioStatus(TypedDict):
    """Loads are shares of the block period. Levels are [left, right] in dBFS. They and `worst_load`
    are the largest since the last status."""

    pid: int
    alive: bool
    """A block ended within the last 0.5 s."""
    rate_hz: int
    block_frames: int
    added_frames: int
    """Latency that JACK's block size adds, see dsp/reblock.h."""
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


class JackStatus(TypedDict):
    """What plays the sound, or why nothing does (firmware_py.jack.report)."""

    server: str
    """ "jackd" (the pedal's own), "other" (a JACK server that ran already) or "PipeWire"."""
    pid: int
    """Of the process that keeps JACK."""
    capture: str
    playback: str
    """ALSA's names of the cards; "" without a card."""
    block_frames: int
    rate_hz: int
    periods: int
    changed: str
    """What differs from the settings, and why; "" if nothing does."""
    trouble: str
    """Why JACK does not run; "" if it does."""


class PortsStatus(TypedDict):
    """JACK's ports that the audio process has connected, see firmware_py.link.connections."""

    inputs: list[list[str]]
    outputs: list[list[str]]
    automatic: bool
    mono: bool
    feed: int
    """0: each input feeds its side; 1, 2: this input feeds both sides."""
    faults: list[str]


class MeasuringStatus(TypedDict):
    """The measurement that the panel, a footswitch or a MIDI message has started."""

    state: str
    """"none", "running", "done" or "failed"."""
    text: str
    """What it does; what came out; or what went wrong, and the remedy."""
    remarks: list[str]
    """What was not as it should be, and the remedies."""
    pid: int
    """Of its process while it runs, else 0."""


class PedalStatus(TypedDict):
    version: str
    simd: str
    machine: MachineStatus
    controls: dict[str, float]
    modulated: dict[str, float]
    """What the modulators make of the controls that they move."""
    scenes: ScenesStatus | None
    """None without a scene B."""
    room: RoomStatus
    safe_start: str
    """Why the pedal started safe; "" if it did not."""
    control: ProcessStatus
    preset: str
    """A line for people; `plays` is for programs."""
    plays: PresetStatus | None
    board: BoardStatus | None
    off: dict[str, str]
    """Parts of the control process that do not work now, such as the data folder, and why."""
    doors: list[str]
    """One line for each input: MIDI, OSC. `inputs` is for programs."""
    inputs: list[InputStatus]
    ports: PortsStatus
    measuring: MeasuringStatus
    audio: AudioStatus | None
    """None without an audio process."""
    jack: JackStatus | None
    """None if nverb did not start JACK."""
