"""A converter of a profile, with its knobs. It is opened on first use, again after a failure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from device.adc import Adc, AdcError
from device.chips import CHIPS
from device.events import Change, Event, Notice
from device.faults import Fault, PartName
from device.knobs import TURN, Knob, KnobFilter, Takeover, WireFault
from device.parts import RETRY_S
from device.profile import KnobRow, Profile
from device.simulated import SimulatedBoard


class Converter:
    def __init__(
        self,
        profile: Profile,
        number: int,
        calibration: dict[str, tuple[float, float]],
        simulation: SimulatedBoard | None,
        root: Path,
    ) -> None:
        """number: of its row, from 0. calibration: ends by control. root: of /dev and /sys."""
        self._row = row = profile.adcs[number]
        place = f"{profile.path.name}, adc {number + 1}: {row}"
        self.part = PartName("adc", str(number + 1), place)
        self.fault: Fault | None = None
        """Of the converter itself; its knobs have their own."""
        rows = [knob for knob in profile.knobs if knob.adc == number]
        self._driver = CHIPS[row.chip]
        self._channels = [knob.channel for knob in rows]
        self._root = root
        simulated = simulation is not None and row.bus == "sim"
        self._simulated_wire = simulation.add_chip(row, rows) if simulation and simulated else None
        self._adc: Adc | None = None
        self._retry_at = 0.0
        self._codes: list[int | None] = []
        top_code = self._driver.top_code(row.bits)
        self.knobs = [_knob(knob, top_code, calibration) for knob in rows]
        self._knob_parts = [
            PartName(
                "knob",
                knob.control.name,
                f"{profile.path.name}, knob {profile.knobs.index(knob) + 1}"
                f" ({knob.control.name}), channel {knob.channel}",
            )
            for knob in rows
        ]
        self._reported: list[WireFault | None] = [None] * len(rows)

    def scan(self, now: float, events: list[Event]) -> None:
        """Read all knobs once; appends what happened to `events`."""
        codes = self._read(now, events)
        if codes is None:
            return
        for place, (knob, code) in enumerate(zip(self.knobs, codes, strict=True)):
            if code is None:
                continue
            value = knob.update(code, now)
            if value is not None:
                events.append(Change(knob.control.name, value))
            if knob.filter.fault != self._reported[place]:
                self._reported[place] = knob.filter.fault
                fault = self._knob_fault(place)
                where = self._knob_parts[place].where
                events.append(
                    Notice(fault.text, fault) if fault else Notice(f"{where}: reads valid again")
                )

    def faults(self) -> Iterator[Fault]:
        """Of the converter and its knobs, as last scanned."""
        if self.fault is not None:
            yield self.fault
        for place in range(len(self.knobs)):
            fault = self._knob_fault(place)
            if fault is not None:
                yield fault

    def close(self) -> None:
        if self._adc is not None:
            self._adc.close()
            self._adc = None

    def _knob_fault(self, place: int) -> Fault | None:
        fault = self.knobs[place].filter.fault
        return None if fault is None else Fault(self._knob_parts[place], *fault)

    def _read(self, now: float, events: list[Event]) -> Sequence[int | None] | None:
        """The codes of the knobs, None while the converter does not answer."""
        try:
            if self._adc is None:
                if now < self._retry_at or not self.knobs:
                    return None
                self._adc = self._open()
            codes = self._adc.read()
            self._reject_dead(codes)
        except OSError as error:
            self.close()
            self._retry_at = now + RETRY_S
            fault = Fault.of(self.part, error)
            if fault != self.fault:
                events.append(Notice(fault.text, fault))
            self.fault = fault
            return None
        if self.fault is not None:
            self.fault = None
            events.append(Notice(f"{self.part.where}: answers again"))
        self._codes = list(codes)
        return codes

    def _reject_dead(self, codes: Sequence[int | None]) -> None:
        """Raise AdcError if all inputs fell to 0 within a scan, at least two from above an eighth.

        Two hands cannot do that, a broken supply or data line does: the fastest turn of a knob
        takes 0.15 s from end to end, 19 ms for an eighth.
        """
        if any(codes) or None in codes or len(codes) < 2:
            return
        high = sum(
            1
            for code, knob in zip(self._codes, self.knobs, strict=False)
            if code and code > knob.filter.full_scale / 8
        )
        if high >= 2:
            raise AdcError("every channel reads 0", "check the chip's supply and its data line")

    def _open(self) -> Adc:
        if self._simulated_wire is not None:
            return self._driver(self._simulated_wire, self._channels, self._row.bits)
        return self._driver.open(self._row, self._channels, self._root)


def _knob(row: KnobRow, top_code: int, calibration: dict[str, tuple[float, float]]) -> Knob:
    low, high = calibration.get(row.control.name, (row.low, row.high))
    position = KnobFilter(
        top_code,
        low=low,
        high=high,
        inverted=row.inverted,
        hysteresis=row.hysteresis,
        motion_s=row.motion_ms / 1000,
    )
    # In a short travel the same noise is a larger part of it.
    turn = max(TURN, 2 * row.hysteresis) / (high - low)
    return Knob(row.control, position, Takeover(row.takeover, turn))
