"""Knob filter and takeover. Codes come from simulated pots through the chip and its driver."""

import math
import random
from itertools import pairwise, product

import pytest
from clock import Clock
from hypothesis import given
from hypothesis import strategies as st

from device.controls import find
from device.knobs import Knob, KnobFilter, Takeover
from device.mcp3xxx import Mcp3xxxChip, Mcp3008
from device.simulated import Pot
from device.spi import SimulatedSpi

LSB = 1 / 1024
FULL = 1023


class Bench:
    """A pot on an MCP3008, read at scan_hz by the real driver into a filter."""

    def __init__(self, pot: Pot, clock: Clock, scan_hz: float = 200, **ends: object) -> None:
        self.pot, self.clock, self.scan_hz = pot, clock, scan_hz
        self.filter = KnobFilter(FULL, **ends)
        self._adc = Mcp3008(SimulatedSpi(Mcp3xxxChip([pot.volts])), [0])

    def run(self, seconds: float, turn=None) -> list[float]:
        """Reported positions. turn(t) moves the pot, t from 0."""
        positions = []
        begin = self.clock.now
        for _ in range(round(seconds * self.scan_hz)):
            self.clock.now += 1 / self.scan_hz
            if turn is not None:
                self.pot.position = turn(self.clock.now - begin)
            if self.filter.update(self._adc.read()[0], self.clock.now):
                positions.append(self.filter.position)
        return positions


def bench(
    position: float = 0.5, scan_hz: float = 200, noise: float = 2 * LSB, hum: float = 2 * LSB, **pot
) -> Bench:
    clock = Clock()
    return Bench(Pot(position, noise=noise, hum=hum, clock=clock, **pot), clock, scan_hz)


@pytest.mark.parametrize(("scan_hz", "hum_hz"), [(100, 50.01), (200, 59.98)])
def test_resting_knob_does_not_change_for_an_hour(scan_hz: float, hum_hz: float) -> None:
    """2 LSB rms of noise, 2 LSB of hum whose frequency beats with the scan rate."""
    noise = random.Random(3)
    knob = KnobFilter(FULL)
    step = 2 * math.pi * hum_hz / scan_hz
    changes = [0, 0]
    for n in range(3600 * scan_hz):
        code = round(512.4 + noise.gauss(0, 2) + 2 * math.sin(step * n))
        changes[n > 2 * scan_hz] += knob.update(code, n / scan_hz)
    assert changes[0] > 0
    assert changes[1] == 0


@pytest.mark.parametrize("turn_s", [0.1, 0.15, 0.3])
def test_fast_turn_is_followed_within_10_ms(turn_s: float) -> None:
    knob = bench(0.0)
    knob.run(2)
    times: list[tuple[float, float]] = []
    begin = knob.clock.now
    while knob.clock.now < begin + turn_s + 0.1:
        knob.run(1 / knob.scan_hz, lambda _: min((knob.clock.now - begin) / turn_s, 1.0))
        times.append((knob.clock.now - begin, knob.filter.position))
    for mark in (0.1, 0.3, 0.5, 0.7, 0.9):
        shaft = (0.015 + 0.97 * mark - 0.004) / 0.992  # position of the shaft at this output
        reached = next(t for t, position in times if position >= mark)
        sampling_s = 0.5 / knob.scan_hz  # a sample is half a scan old on average
        assert reached - turn_s * shaft <= 0.010 + 1e-9 + sampling_s


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.012, 0.988)])
def test_turn_reaches_both_ends_exactly(ends, inverted) -> None:
    clock = Clock()
    knob = Bench(
        Pot(0.5, noise=2 * LSB, hum=2 * LSB, ends=ends, clock=clock), clock, inverted=inverted
    )
    knob.run(1)
    for shaft in (0.0, 1.0, 0.0):
        start = knob.pot.position
        knob.run(1, lambda t, start=start, shaft=shaft: start + (shaft - start) * min(t / 0.3, 1))
        assert knob.filter.position == (1 - shaft if inverted else shaft)


def test_small_move_leaves_end() -> None:
    knob = bench(0.0, noise=0.5 * LSB, hum=0.0)
    knob.run(1)
    assert knob.filter.position == 0
    assert knob.run(2, lambda t: min(0.02, 0.02 * t))
    assert knob.filter.position == pytest.approx((0.004 + 0.992 * 0.02 - 0.015) / 0.97, abs=1.5e-3)


def test_moves_of_one_500th_of_travel_are_reported() -> None:
    """A pot moves by 1/500 at a time, with pauses. Each move is reported, and they add up."""
    knob = bench(0.3, noise=0.5 * LSB, hum=0.5 * LSB)
    knob.run(2)
    seen = [knob.filter.position]
    for step in range(1, 21):
        knob.pot.position = 0.3 + step / 500
        assert knob.run(3), f"step {step} was not seen"
        seen.append(knob.filter.position)
    steps = [b - a for a, b in pairwise(seen)]
    assert min(steps) > 0
    assert sum(steps) == pytest.approx(20 / 500 * 0.992 / 0.97, abs=1e-3)


def test_slow_turn_gives_small_steps() -> None:
    knob = bench(0.2)
    knob.run(2)
    positions = [knob.filter.position, *knob.run(5, lambda t: 0.2 + 0.1 * t)]
    assert max(abs(b - a) for a, b in pairwise(positions)) < 0.02


@pytest.mark.parametrize("scans", [1, 2, 3])
def test_clicks_of_dirty_track_do_not_change_position(scans: int) -> None:
    knob = bench(0.6, noise=0.5 * LSB, hum=0.0)
    knob.run(2)
    rest = knob.filter.position
    for _ in range(5):
        knob.pot.dirt = 1.0
        assert not knob.run(scans / knob.scan_hz)
        knob.pot.dirt = 0.0
        knob.run(0.4)
        assert knob.filter.position == pytest.approx(rest, abs=2e-3)
        assert knob.filter.fault is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("wire", ["loose", "ground", "supply"])
def test_disconnected_pot_keeps_position_reports_fault_and_recovers(wire: str, seed: int) -> None:
    knob = bench(0.4, noise=0.5 * LSB, hum=0.5 * LSB, seed=seed)
    knob.run(2)
    rest = knob.filter.position
    knob.pot.wire = wire
    wandered = knob.run(5)
    assert knob.filter.fault
    assert knob.filter.position == pytest.approx(rest, abs=2e-3)
    assert len(wandered) <= 12  # before the detection, and the return
    knob.pot.wire = "good"
    knob.run(1)
    assert knob.filter.fault is None
    knob.pot.position = 0.5
    knob.run(1)
    assert knob.filter.position == pytest.approx((0.004 + 0.992 * 0.5 - 0.015) / 0.97, abs=2e-3)


def test_jump_after_pause_between_scans_is_no_fault() -> None:
    knob = bench(0.5, noise=0.5 * LSB, hum=0.0, ends=(0.0, 1.0))
    knob.run(1)
    knob.clock.now += 0.1
    knob.pot.position = 1.0
    knob.run(0.2)
    assert knob.filter.fault is None
    assert knob.filter.position == 1.0


@given(st.lists(st.integers(0, 1023), max_size=300))
def test_any_codes_give_position_within_travel(codes) -> None:
    knob = KnobFilter(FULL)
    for n, code in enumerate(codes):
        changed = knob.update(code, n * 0.005)
        assert not changed or knob.position is not None
        assert knob.position is None or 0 <= knob.position <= 1


@pytest.mark.parametrize("ends", [(0.5, 0.5), (0.9, 0.1), (-0.1, 1), (0, 1.1), (math.nan, 1)])
def test_filter_rejects_invalid_ends(ends) -> None:
    with pytest.raises(ValueError, match="ends of a knob"):
        KnobFilter(FULL, low=ends[0], high=ends[1])


def path(start: float, stop: float, steps: int = 50) -> list[float]:
    return [start + (stop - start) * n / steps for n in range(1, steps + 1)]


def test_jump_sets_control_at_first_move() -> None:
    takeover = Takeover("jump")
    takeover.knob_moved(0.2)
    takeover.control_moved(0.9)
    assert takeover.distance == pytest.approx(0.7)
    assert takeover.knob_moved(0.21) == 0.21
    assert takeover.distance == 0


@pytest.mark.parametrize(("start", "target"), [(0.2, 0.7), (0.8, 0.3), (0.0, 1.0)])
def test_pickup_waits_until_knob_passes_control(start: float, target: float) -> None:
    takeover = Takeover("pickup")
    takeover.knob_moved(start)
    takeover.control_moved(target)
    values = [(position, takeover.knob_moved(position)) for position in path(start, target)]
    taken = [(position, value) for position, value in values if value is not None]
    assert taken
    assert all(value == position for position, value in taken)
    assert abs(taken[0][0] - target) <= 0.02  # no audible jump
    assert takeover.distance == 0


@pytest.mark.parametrize(
    ("start", "target", "towards"), [(0.2, 0.7, 1.0), (0.2, 0.7, 0.0), (0.8, 0.1, 1.0)]
)
def test_scale_moves_without_jump_and_meets_at_end(
    start: float, target: float, towards: float
) -> None:
    takeover = Takeover("scale")
    takeover.knob_moved(start)
    takeover.control_moved(target)
    moved = [takeover.knob_moved(position) for position in path(start, towards)]
    values = [target, *(value for value in moved if value is not None)]
    assert values[-1] == towards
    steps = [abs(b - a) for a, b in pairwise(values)]
    assert max(steps) < 0.1
    assert takeover.distance == 0


@pytest.mark.parametrize("seed", range(4))
def test_noise_of_untouched_pot_never_sets_a_control(clock: Clock, seed: int) -> None:
    """A minute of the noisiest pot that the filter keeps still, from its first reading on."""
    bench = Bench(Pot(0.37, noise=2 * LSB, hum=2 * LSB, seed=seed, clock=clock), clock)
    still = bench.run(60)
    there = bench.run(1, lambda t: 0.37 + 0.63 * t)
    back = bench.run(2, lambda t: max(1 - t, 0.0))
    for mode, value in product(("jump", "pickup", "scale"), (0.0, 0.37, 0.375, 1.0)):
        takeover = Takeover(mode)
        takeover.control_moved(value)
        assert [p for p in still if takeover.knob_moved(p) is not None] == [], (mode, value)
        for position in there:
            takeover.knob_moved(position)
        turned = [takeover.knob_moved(p) for p in back]
        assert turned[-1] == 0.0, (mode, value)  # a hand still does


@given(
    st.sampled_from(["jump", "pickup", "scale"]),
    st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=50),
)
def test_takeover_stays_within_travel(mode, moves) -> None:
    takeover = Takeover(mode)
    for by_knob, position in moves:
        if by_knob:
            value = takeover.knob_moved(position)
            assert value is None or 0 <= value <= 1
        else:
            takeover.control_moved(position)
        assert -1 <= takeover.distance <= 1


def test_knob_gives_values_by_law_of_control() -> None:
    knob = Knob(find("lowpass_hz"), KnobFilter(FULL, low=0.0, high=1.0), Takeover())
    values = [knob.update(round(FULL * 0.5), n * 0.005) for n in range(3)]
    assert values[2] == pytest.approx(math.sqrt(500 * 20_000), rel=2e-3)
    knob.control_moved(500.0)
    assert knob.takeover.distance == pytest.approx(-0.5, abs=1e-3)
