"""What is between two scenes: closed forms for each unit."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from device.controls import check, find, to_position, to_value
from device.scenes import MORPHED, between, blend

TABLE = [  # control, in scene A, in scene B, share of the way, value by the closed form
    ("gain", -30.0, 6.0, 0.25, -21.0),  # levels in dB, whatever the taper of the knob
    ("gain", -140.0, 0.0, 0.5, -70.0),
    ("level", -40.0, 12.0, 0.5, -14.0),
    ("tone_low", -6.0, 6.0, 0.75, 3.0),
    ("lowpass_hz", 500.0, 8000.0, 0.5, 2000.0),  # frequencies by ratio
    ("lowpass_hz", 8000.0, 500.0, 0.25, 4000.0),
    ("decay", 0.25, 4.0, 0.5, 1.0),  # factors and times by ratio
    ("decay", 1.0, 16.0, 1.0, 16.0),  # its end is infinite
    ("predelay", 10.0, 1000.0, 0.5, 100.0),
    ("attack", 5.0, 80.0, 0.25, 10.0),
    ("duck_release_ms", 100.0, 400.0, 0.5, 200.0),
    ("gate_hold_ms", 0.0, 1000.0, 0.5, 500.0),  # 0 has no ratio: along the travel of the knob
    ("predelay", 0.0, 2000.0, 0.5, 500.0),
    ("predelay", 2000.0, 0.0, 0.5, 500.0),
    ("x", 0.0, 9.0, 1 / 3, 3.0),  # places linear in latent space
    ("colour1", -2.0, 2.0, 0.75, 1.0),
    ("width", 1.0, -1.0, 0.5, 0.0),
    ("mix", 20.0, 80.0, 0.5, 50.0),
]


@pytest.mark.parametrize(("name", "a", "b", "share", "value"), TABLE)
def test_between_is_the_closed_form_of_the_unit(
    name: str, a: float, b: float, share: float, value: float
) -> None:
    assert between(find(name), a, b, share) == pytest.approx(value, rel=1e-9, abs=1e-9)


positions = st.floats(0, 1)


@example("gate_hold_ms", 5e-324, 0.5, 0.5, 0.0)  # ratio beyond the range of floats
@given(st.sampled_from(MORPHED), positions, positions, positions, positions)
def test_the_way_is_within_the_range_one_way_and_exact_at_its_ends(
    name: str, start: float, end: float, earlier: float, later: float
) -> None:
    control = find(name)
    a, b = to_value(control, start), to_value(control, end)
    assert (between(control, a, b, 0), between(control, a, b, 1)) == (a, b)
    shares = sorted((earlier, later))
    steps = [to_position(control, between(control, a, b, share)) for share in (0, *shares, 1)]
    for share in shares:
        check(control, between(control, a, b, share))
    ordered = sorted(steps, reverse=steps[-1] < steps[0])
    assert steps == pytest.approx(ordered, abs=1e-9)


def test_switches_choices_and_what_presets_leave_alone_are_common_to_both() -> None:
    for name in ("lowpass", "tails", "recording", "tempo", "morph", "morph_glide_s", "bypass"):
        assert name not in MORPHED
    assert {"x", "y", "z", "mix", "gain", "decay", "predelay", "level", "duck"} <= set(MORPHED)


def test_blend_moves_the_controls_of_b_alone() -> None:
    a = {"x": 2.0, "mix": 35.0, "lowpass_hz": 1000.0}
    assert blend(a, {"x": 4.0, "lowpass_hz": 4000.0}, 50) == pytest.approx(
        {"x": 3.0, "lowpass_hz": 2000.0}
    )
