"""The pedal's defaults from the settings: for demo, desk tools and benches."""

from __future__ import annotations

from firmware_py.state.settings import Settings

RATE_HZ = Settings.rate_hz
BLOCK_FRAMES = Settings.block_frames
LONGEST_S = Settings.max_ir_s
