"""Shows clipping, and faults outside the board, on the LEDs of the board. Control process."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from firmware_py.base.paths import data_path

if TYPE_CHECKING:
    from device.board import Board
    from dsp._engine import Meters, Port

FULL_SCALE = 0.999
"""Peaks from here on count as clipping of the converter."""
SILENT_S = 0.5
"""Without a heartbeat for this long the audio process counts as silent."""
START_S = 10.0
"""Silence in this time after start is no fault."""
STORAGE_S = 5.0
SPARE_BYTES = 1 << 20
"""With less free space the storage is faulty: a preset may need this much."""


class Leds:
    """Drives the LEDs with `update`. Reading the meters resets their peaks, so `peaks` keeps them
    for `nverb status`."""

    def __init__(self) -> None:
        self._limited = 0
        self._kept: Meters | None = None
        self._begun = time.monotonic()
        self._next_storage = 0.0
        self._storage_fault = False

    def update(
        self, board: Board, port: Port | None, now: float, *, room_fault: bool, port_fault: bool
    ) -> None:
        """Called about every 50 ms. port: None without audio process. now: time.monotonic().
        port_fault: JACK's ports are not connected as the settings say."""
        board.set_fault("room", room_fault)
        board.set_fault("storage", self._storage(now))
        if port is None:
            board.set_fault("audio", port_fault or now - self._begun > START_S)
            return
        meters = port.meters(take=True)
        silent = (time.monotonic_ns() - meters.heartbeat_ns) > SILENT_S * 1e9
        board.set_fault("audio", port_fault or (silent and now - self._begun > START_S))
        limited, self._limited = meters.limited_samples > self._limited, meters.limited_samples
        if limited or max(*meters.input_peak, *meters.output_peak) >= FULL_SCALE:
            board.light("clip")
        self._keep(meters)

    def peaks(self, meters: Meters) -> Meters:
        """The meters, taken just now, with the peaks since the last call of `peaks`."""
        self._keep(meters)
        kept, self._kept = self._kept or meters, None
        return meters._replace(
            input_peak=kept.input_peak, output_peak=kept.output_peak, worst_ns=kept.worst_ns
        )

    def _keep(self, meters: Meters) -> None:
        kept = self._kept or meters
        self._kept = meters._replace(
            input_peak=_louder(kept.input_peak, meters.input_peak),
            output_peak=_louder(kept.output_peak, meters.output_peak),
            worst_ns=max(kept.worst_ns, meters.worst_ns),
        )

    def _storage(self, now: float) -> bool:
        """Whether the data folder cannot store a preset: it is read-only or full."""
        if now >= self._next_storage:
            self._next_storage = now + STORAGE_S
            try:
                folder = data_path()
                space = os.statvfs(folder)
                self._storage_fault = (
                    not os.access(folder, os.W_OK) or space.f_bavail * space.f_frsize < SPARE_BYTES
                )
            except Exception:
                self._storage_fault = True
        return self._storage_fault


def _louder(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return max(a[0], b[0]), max(a[1], b[1])
