"""A converter of a profile and the knobs on it. It is opened on first use and again after a failure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from device.adc import Adc, AdcRow
from device.chips import CHIPS
from device.events import Event, Notice
from device.knobs import Knob, KnobFilter, Takeover
from device.parts import RETRY_S
from device.profile import Profile
from device.simulated import SimulatedBoard


class Converter:
    """A converter and its knobs: opened again when it fails."""

    def __init__(
        self,
        profile: Profile,
        number: int,
        row: AdcRow,
        calibration: dict[str, tuple[float, float]],
        simulation: SimulatedBoard | None,
        root: Path,
    ) -> None:
        self.name = f"adc {number + 1}"
        self.fault: str | None = None
        self.knobs: list[Knob] = []
        self.told: dict[str, str | None] = {}
        self._where = f"{profile.path.name}, adc {number + 1}: {row}"
        self._profile = profile
        self._row = row
        self._driver = CHIPS[row.chip]
        self._rows = [knob for knob in profile.knobs if knob.adc == number]
        self._root = root
        self._simulated_wire = (
            simulation.add_chip(row, self._rows)
            if simulation is not None and row.bus == "sim"
            else None
        )
        self._calibration = calibration
        self._adc: Adc | None = None
        self._retry_at = 0.0
        self._codes: list[int | None] = []
        full_scale = self._driver.top_code(row.bits)
        for knob in self._rows:
            low, high = calibration.get(knob.control.name, (knob.low, knob.high))
            position = KnobFilter(
                full_scale,
                low=low,
                high=high,
                inverted=knob.inverted,
                hysteresis=knob.hysteresis,
                motion_s=knob.motion_ms / 1000,
            )
            self.knobs.append(Knob(knob.control, position, Takeover(knob.takeover)))
            self.told[knob.control.name] = None

    def read(self, now: float, events: list[Event]) -> Sequence[int | None] | None:
        """The codes of its knobs, or None while it does not answer."""
        try:
            if self._adc is None:
                if now < self._retry_at or not self._rows:
                    return None
                self._adc = self._open()
            codes = self._adc.read()
            self._reject_dead(codes)
        except OSError as error:
            self.close()
            self._retry_at = now + RETRY_S
            fault = f"{self._where}: {error}"
            if fault != self.fault:
                events.append(Notice(f"{fault}; its knobs keep their values"))
            self.fault = fault
            return None
        if self.fault is not None:
            self.fault = None
            events.append(Notice(f"{self._where}: answers again"))
        self._codes = list(codes)
        return codes

    def tell(self, knob: Knob) -> str:
        self.told[knob.control.name] = fault = knob.filter.fault
        row = next(row for row in self._rows if row.control.name == knob.control.name)
        where = f"{self._profile.path.name}, knob {self._profile.knobs.index(row) + 1} ({row.control.name}), channel {row.channel}"
        return f"{where}: {fault}; its last value holds" if fault else f"{where}: reads well again"

    def close(self) -> None:
        if self._adc is not None:
            self._adc.close()
            self._adc = None

    def _reject_dead(self, codes: Sequence[int | None]) -> None:
        """Raises if all inputs fell to 0 between two scans, two of them from far: no two hands do that, a supply or data line does.
        The quickest turn of a knob takes 0.15 s from end to end, 19 ms for an eighth of it."""
        if any(codes) or None in codes or len(codes) < 2:
            return
        high = sum(
            1
            for code, knob in zip(self._codes, self.knobs, strict=False)
            if code and code > knob.filter.full_scale / 8
        )
        if high >= 2:
            raise OSError(
                "every channel reads 0 at once: check the chip's supply and its data line"
            )

    def _open(self) -> Adc:
        channels = [knob.channel for knob in self._rows]
        if self._simulated_wire is not None:
            return self._driver(self._simulated_wire, channels, self._row.bits)
        return self._driver.open(self._row, channels, self._root)
