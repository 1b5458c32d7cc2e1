"""All converter chips: the drivers by the names that profiles use."""

from __future__ import annotations

from device.adc import Adc
from device.ads1115 import Ads1115
from device.iio import Iio
from device.mcp3xxx import Mcp3008, Mcp3208

CHIPS: dict[str, type[Adc]] = {chip.name: chip for chip in (Mcp3008, Mcp3208, Ads1115, Iio)}
