"""The load of the audio callback. Control process."""

from __future__ import annotations

from dsp._engine import Port


class Load:
    """Mean load of the audio callback over about the last second, as a share of the block
    period."""

    def __init__(self) -> None:
        self.mean = 0.0
        self._at = 0.0
        self._blocks = self._busy_ns = 0

    def update(self, port: Port, now: float) -> None:
        """Compute `mean`, at most once a second. now: time.monotonic()."""
        if now - self._at < 1:
            return
        meters = port.meters()
        blocks, busy_ns = meters.blocks - self._blocks, meters.busy_ns - self._busy_ns
        if blocks > 0 and busy_ns >= 0:
            self.mean = busy_ns * 1e-9 * port.rate_hz / (blocks * port.block_frames)
        self._at, self._blocks, self._busy_ns = now, meters.blocks, meters.busy_ns
