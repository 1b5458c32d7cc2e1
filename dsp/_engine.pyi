from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from numpy.typing import ArrayLike as Buffer

class Meters(NamedTuple):
    """See dsp/meters.h."""

    blocks: int
    heartbeat_ns: int
    late_blocks: int
    nonfinite_samples: int
    busy_ns: int
    worst_ns: int
    limited_samples: int
    playing_serial: int
    playing_since_ns: int
    input_peak: tuple[float, float]
    output_peak: tuple[float, float]
    pid: int
    fading: bool
    offset_blocks: int
    input_feed: int
    two_sources: int

class Param(NamedTuple):
    default: float
    lowest: float
    highest: float

PARAMS: dict[str, Param]
"""The engine's parameters by name, see dsp/engine_params.h."""
LEAVE_AT_NEW_SIZE: int
"""Address of nv_watchdog_block_size, see dsp/watchdog.h."""
NOTE_PORT: int
"""Address of nv_watchdog_port, see dsp/watchdog.h."""
WHOLE_BLOCK: int
"""Address of nv_watchdog_whole_block, see dsp/watchdog.h."""
COUNT: int
"""Address of nv_watchdog_count, see dsp/watchdog.h."""

DenseLayer = tuple[
    Buffer,
    Buffer | None,
    Buffer,
    Buffer,
    Buffer,
    tuple[int, int, int, int],
    tuple[int, int, int, int] | None,
]
"""weights, bias, factor, shift, less, before and after, sigmoid and product."""

def plan(block_frames: int, max_taps: int, inputs: int = 2) -> bytes: ...
def engine_frames(block_frames: int) -> int: ...
def stages(layout: bytes) -> list[tuple[int, int, int]]: ...
def port_bytes(layout: bytes, ir_channels: int = 4) -> int: ...
def keep_block_size(frames: int) -> None: ...
def note_at_new_size(descriptor: int, text: bytes) -> None: ...
def late_seam(
    rate_hz: int, max_taps: int
) -> tuple[int, int, tuple[float, ...], tuple[float, ...], tuple[float, ...]]: ...
def curves(level_db: Buffer, after: Buffer, share: Buffer, out: Buffer) -> None: ...
def simd() -> str: ...
def take_port_news() -> bool: ...

class Callback:
    def __call__(self) -> None: ...

class Port:
    layout: bytes
    rate_hz: int
    block_frames: int
    engine_frames: int
    added_frames: int
    inputs: int
    max_taps: int
    locked_bytes: int
    def __init__(
        self,
        memory: Buffer,
        layout: bytes | None = None,
        ir_channels: int = 4,
        rate_hz: int = 0,
        block_frames: int = 0,
    ) -> None: ...
    def set_params(self, values: dict[str, float]) -> None: ...
    def params(self) -> dict[str, float] | None: ...
    def load_ir(self, ir: Buffer, room: int = 0, late: Buffer | None = None) -> int: ...
    def recover_control(self) -> None: ...
    def lock_memory(self) -> None: ...
    def newest_room(self) -> int: ...
    def meters(self, take: bool = False) -> Meters: ...
    def watch(
        self, signals: Iterable[int], seconds: float, notify: str | None = None, ping_s: float = 0
    ) -> int: ...

class Engine:
    begin: Callback
    process: Callback
    finish: Callback
    def __init__(
        self,
        port: Port,
        inputs: Sequence[Buffer],
        wet: Sequence[Buffer],
        dry: Sequence[Buffer],
        mixed: Sequence[Buffer],
        out: Sequence[Buffer],
    ) -> None: ...
    def route(self, automatic_inputs: bool, mono_output: bool) -> None: ...

class Synthesis:
    """See dsp/synthesis.h."""

    def __init__(
        self, frames: int, bands: tuple[tuple[int, int, Buffer, Buffer, Buffer, Buffer], ...]
    ) -> None: ...
    def __call__(self, curves: Buffer, middle: Buffer, side: Buffer, out: Buffer) -> None: ...

class Pulses:
    """See dsp/pulses.h."""

    def __init__(
        self,
        rate_hz: int,
        heard: int,
        centre_s: Buffer,
        frame_s: Buffer,
        octave: Buffer,
        reflected: Buffer,
        share: Buffer,
        density: Buffer,
        fade: Buffer,
        window: Buffer,
        node: Buffer,
    ) -> None: ...
    def split(self, taps: Buffer, level_db: Buffer, left_db: Buffer, energy_db: Buffer) -> None: ...
    def make(self, energy_db: Buffer, pulses: Buffer) -> None: ...
    def add(
        self, taps: Buffer, left_db: Buffer, energy_db: Buffer, width: float, sound: Buffer
    ) -> None: ...

class Falls:
    """See dsp/shaping.h."""

    def __init__(self, edge_s: Buffer, centre_s: Buffer, blur: Buffer, slope: Buffer) -> None: ...
    def __call__(
        self,
        level_db: Buffer,
        direct_db: Buffer | None,
        decay: float,
        fall_db: Buffer,
        share: Buffer,
    ) -> None: ...
    def reliable(self, level_db: Buffer, last: Buffer) -> None: ...
    def lines(
        self, level_db: Buffer, last: Buffer, start_db: Buffer, rate_db_s: Buffer
    ) -> None: ...
    def stretch(
        self,
        level_db: Buffer,
        rate_db_s: Buffer,
        frame: Buffer,
        beyond_s: Buffer,
        shift_db: float,
        depth_db: float,
        out_db: Buffer,
    ) -> None: ...

class Dense:
    """See dsp/dense.h."""

    inputs: int
    outputs: int
    def __init__(
        self, in_scale: float, out_scale: float, layers: tuple[DenseLayer, ...]
    ) -> None: ...
    def __call__(self, values: Buffer, out: Buffer) -> None: ...

class Kernel:
    fading: bool
    def __init__(self, layout: bytes, fade_frames: int = 1024) -> None: ...
    rooms: int
    def load(self, ir: Buffer, tails: Literal["keep", "follow", "cut"] = "keep") -> None: ...
    def process(self, input: Buffer, output: Buffer) -> None: ...
    def reset(self) -> None: ...
    @property
    def bytes(self) -> int: ...
