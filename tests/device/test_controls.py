"""The table of controls: laws, text of values, names."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.controls import (
    CONTROLS,
    OutOfRange,
    UnknownControl,
    check,
    defaults,
    find,
    format,
    parse,
    parse_assignments,
    resolve,
    split_assignments,
    to_position,
    to_value,
)
from dsp._engine import PARAMS
from dsp.errors import UserError

TABLE = [  # control, position, value by the law's closed form
    ("gain", 0.5, -140 + 152 * 0.5 ** (1 / 3)),
    ("gain", (137 / 152) ** 3, -3.0),
    ("lowpass_hz", 0.5, math.sqrt(500 * 20_000)),
    ("highpass_hz", 0.25, 20 * 250**0.25),
    ("decay", 0.5, 2.0),
    ("x", 1 / 3, 3.0),
    ("width", 0.25, -2.0),
    ("bypass", 0.49, 0.0),
    ("bypass", 0.5, 1.0),
]


@pytest.mark.parametrize(("name", "position", "value"), TABLE)
def test_laws_match_closed_forms(name: str, position: float, value: float) -> None:
    assert to_value(find(name), position) == pytest.approx(value, rel=1e-12, abs=1e-9)


def test_x_has_ten_steps_of_plug_in() -> None:
    assert [to_value(find("x"), k / 9) for k in range(10)] == pytest.approx(
        list(range(10)), abs=1e-12
    )


@given(st.sampled_from(CONTROLS), st.floats(-0.5, 1.5))
def test_to_position_is_inverse_of_to_value(control, position) -> None:
    value = to_value(control, position)
    assert check(control, value) == value
    back = to_position(control, value)
    if control.is_switch:
        assert back == value
    elif control.law != "steps":
        assert back == pytest.approx(min(max(position, 0), 1), abs=1e-9)
    assert to_value(control, to_position(control, value)) == pytest.approx(
        value, rel=1e-9, abs=1e-9
    )


@given(st.sampled_from(CONTROLS), st.floats(0, 1))
def test_parse_reads_formatted_values(control, position) -> None:
    value = to_value(control, position)
    text = format(control, value)  # rounded
    assert parse(control, text) == pytest.approx(value, rel=6e-3, abs=0.06)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("gain", "-3 dB", -3),
        ("gain", "+1.5db", 1.5),
        ("lowpass_hz", "2 kHz", 2000),
        ("lowpass_hz", "2k", 2000),
        ("predelay", "0.02 s", 20),
        ("mix", "40%", 40),
        ("decay", "150 %", 1.5),
        ("x", " 4.5 ", 4.5),
        ("lock", "On", 1),
        ("lock", "0", 0),
        ("freeze", "on", 1),  # its former name
        ("decay", "Infinite", 16),
        ("decay", "16", 16),
        ("hold_mode", "layer", 1),
        ("shimmer_interval", "+7", 1),
        ("shimmer_interval", "-12", 3),
        ("movement_rate", "0.05 Hz", 0.05),
        ("tails", "Follow", 1),
        ("tails", "2", 2),
    ],
)
def test_parse_reads_units(name: str, text: str, value: float) -> None:
    assert parse(find(name), text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("mix", "101", "0 to 100 %"),
        ("mix", "nan", "such as '35.0 %'"),
        ("mix", "-inf", "0 to 100 %"),
        ("mix", "", "0 to 100 %"),
        ("mix", "3 dB", "0 to 100 %"),
        ("mix", "9" * 100_000, "0 to 100 %"),
        ("gain", "1e999", "-140 to 12 dB"),
        ("bypass", "maybe", "on or off"),
    ],
)
def test_parse_rejects_invalid_text_with_range(name: str, text: str, says: str) -> None:
    with pytest.raises(OutOfRange, match=says) as caught:
        parse(find(name), text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.5, -1])
def test_check_rejects_switch_values_but_0_and_1(value: float) -> None:
    with pytest.raises(OutOfRange):
        check(find("bypass"), value)


def test_find_names_nearest_control() -> None:
    with pytest.raises(UnknownControl, match="gain"):
        find("gian")
    with pytest.raises(UnknownControl, match="highpass_hz"):
        find("x" * 100_000)
    assert find("Early-Late").name == "early_late"


def test_rows_have_unique_names_ccs_and_valid_defaults() -> None:
    assert len({control.name for control in CONTROLS}) == len(CONTROLS)
    ccs = [control.cc for control in CONTROLS if control.cc is not None]
    assert len(set(ccs)) == len(ccs)
    assert all(0 <= cc <= 119 for cc in ccs)  # 120 and up are MIDI's channel mode messages
    for control in CONTROLS:
        assert check(control, control.default) == control.default
        assert control.help


@pytest.mark.parametrize("name", PARAMS)
def test_every_engine_parameter_has_one_control_within_its_range(name: str) -> None:
    (control,) = [control for control in CONTROLS if control.param == name]
    scale = 100 if control.unit == "%" else 1
    assert PARAMS[name].lowest <= control.minimum / scale
    assert PARAMS[name].highest >= control.maximum / scale


def test_engine_controls_name_parameters_of_the_engine() -> None:
    assert {control.param for control in CONTROLS if control.target == "engine"} == set(PARAMS)


@pytest.mark.parametrize(
    ("name", "text", "now", "expected"),
    [
        ("bypass", "toggle", 0, 1),
        ("bypass", "Toggle", 1, 0),
        ("x", "+0.5", 3, 3.5),
        ("x", "-=0.5", 3, 2.5),
        ("x", "+20", 3, 9),  # clamped
        ("mix", "-10%", 40, 30),
        ("predelay", "+=0.01 s", 20, 30),
        ("lowpass_hz", "+1kHz", 2000, 3000),
        ("tails", "+1", 0, 1),
        ("shimmer_interval", "+12", 2, 0),  # its names have signs
        ("shimmer_interval", "+=1", 0, 1),
        ("gain", "-3", 6, -3),  # its values have signs, so this is no step
        ("gain", "+3 dB", 6, 3),
        ("gain", "-=3 dB", 6, 3),
        ("width", "+=1", -1, 0),
        ("mix", "40%", 10, 40),
    ],
)
def test_value_may_refer_to_the_one_before(
    name: str, text: str, now: float, expected: float
) -> None:
    assert resolve(find(name), text, now) == pytest.approx(expected)


@pytest.mark.parametrize(
    "word", ["x=toggle", "x=++1", "x+=+1", "tails=+0.5", "bypass=+1", "mix=-", "mix=-10 Hz", "y+"]
)
def test_wrong_steps_are_refused(word: str) -> None:
    with pytest.raises(UserError):
        split_assignments([word])


def test_assignments_keep_their_steps() -> None:
    assert split_assignments(["x+=1", "mix=-5", "bypass=toggle"]) == {
        "x": "+=1",
        "mix": "-5",
        "bypass": "toggle",
    }
    assert parse_assignments(["x+=1", "mix=-5"], defaults() | {"mix": 3.0}) == {"x": 5.5, "mix": 0}
