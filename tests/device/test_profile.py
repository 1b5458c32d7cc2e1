"""Packaged profiles, and errors of invalid ones."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.profile import PACKAGED, REFERENCE, ProfileError, leds_of, load, parse, paths

GOOD = """
adc = [{ chip = "mcp3008", spi = [0, 0] }]
knob = [
  { channel = 0, control = "gain" },
  { channel = 1, control = "x" },
]
switch = [{ line = 17, action = "bypass" }]
led = [{ line = 22, shows = "on" }]
"""


@pytest.mark.parametrize("name", sorted(set(paths()) - {"none"}))
def test_packaged_profile_has_five_knobs_and_bypass(name: str) -> None:
    profile = load(name)
    assert [knob.control.name for knob in profile.knobs] == ["gain", "x", "y", "z", "width"]
    assert any(switch.action == "bypass" for switch in profile.switches)
    assert {led.shows for led in profile.leds} >= {"on", "clip", "fault"}


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_missing_keys_have_defaults(tmp_path) -> None:
    profile = load(written(tmp_path, GOOD))
    assert profile.scan_hz == 200
    knob = profile.knobs[1]
    assert (knob.takeover, knob.inverted, knob.low, knob.high) == ("pickup", False, 0.015, 0.985)


def test_row_overrides_range_and_law(tmp_path) -> None:
    text = GOOD.replace(
        'control = "x" }', 'control = "x", law = "steps", minimum = 2, maximum = 5 }'
    )
    control = load(written(tmp_path, text)).knobs[1].control
    assert (control.minimum, control.maximum, control.law) == (2, 5, "steps")


def test_profile_of_data_folder_overrides_package(tmp_path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/sim.toml").write_text(GOOD)
    assert load("sim", tmp_path).knobs[1].control.name == "x"
    assert load("sim", tmp_path).path.parent == tmp_path / "profiles"
    assert load("sim").path.parent == PACKAGED


BAD = [  # text to replace, with what; the error besides the file's name
    ('control = "x"', 'control = "xx"', "knob 2 .xx.*no control 'xx'"),
    ("channel = 1", "channel = 8", "knob 2 .x.*mcp3008 has channels 0 to 7"),
    ("channel = 1", "channel = 0", "knob 2 .x.*taken by knob 1"),
    ("channel = 1", "channel = 1.5", "knob 2 .x.*whole number"),
    ('control = "x"', 'control = "gain"', "knob 2 .gain.*taken by knob 1"),
    ('control = "x"', 'control = "x", adc = 1', "knob 2.*adc = 1"),
    ('control = "x"', 'control = "x", takeover = "pikup"', "knob 2.*did you mean pickup"),
    ('control = "x"', 'control = "x", invert = true', "knob 2.*unknown key 'invert'.*inverted"),
    ('control = "x"', 'control = "x", inverted = 1', "knob 2.*true or false"),
    ('control = "x"', 'control = "x", low = 0.6, high = 0.4', "knob 2.*inverted = true"),
    ('control = "x"', 'control = "x", low = nan', "low = nan: is not a number"),
    ('control = "x"', 'control = "x", law = "log"', "knob 2.*log law"),
    ('control = "x"', 'control = "x", maximum = 10', "knob 2.*from 0 to 9"),
    ('"mcp3008"', '"mcp3009"', "adc 1.*did you mean mcp3008"),
    ("spi = [0, 0]", "spi = [0]", "adc 1.*list of 2 whole numbers"),
    (", spi = [0, 0]", "", "adc 1.*one of: spi, pins"),
    ('"mcp3008", spi = [0, 0]', '"ads1115", i2c = [1, 0x20]', "adc 1.*0x20.*0x48 to 0x4b"),
    ('"mcp3008", spi = [0, 0]', '"iio", name = "foo-adc"', "adc 1.*bits"),
    ('"mcp3008", spi = [0, 0]', '"mcp3008", pins = [5, 5, 6, 7]', "adc 1.*four different lines"),
    ("line = 17", "line = 22", "led 1.*taken by switch 1"),
    ("line = 17", "line = 11", "switch 1.*line 11 belongs to the converter's bus"),
    ("line = 17", "line = 28", "switch 1.*lines 0 to 27"),
    ('"bypass"', '"bypas"', "switch 1.*no action 'bypas'"),
    ('"bypass"', '"gain"', "switch 1.*no action 'gain'"),
    ('"bypass"', '"bypass", long = "tip"', "switch 1.*no action 'tip'"),
    ('"bypass"', '"bypass hold", long = "tap"', "switch 1.*needs its own switch"),
    ('"on"', '"smoke"', "led 1.*there are on, clip"),
    ("adc = [", "adcs = [", "no adc row"),
    ("knob = [", "scan_hz = 1\nknob = [", "scan_hz = 1: a number from 50 to 1000"),
    ("knob = [", "knob = 3\nnob = [", "knob must be a list"),
    ("knob = [", "knob = [[", "line 7"),
]


@pytest.mark.parametrize(("good", "bad", "says"), BAD)
def test_load_rejects_invalid_profile_with_file_row_and_remedy(
    tmp_path, good: str, bad: str, says: str
) -> None:
    assert good in GOOD
    with pytest.raises(ProfileError, match=f"(?s)mine.toml.*{says}") as caught:
        load(written(tmp_path, GOOD.replace(good, bad, 1)))
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_load_names_nearest_profile() -> None:
    with pytest.raises(ProfileError, match="did you mean pi-mcp3"):
        load("pi-mcp308")


def test_load_rejects_huge_and_binary_files(tmp_path) -> None:
    with pytest.raises(ProfileError, match="larger than"):
        load(written(tmp_path, "#" * 100_000))
    path = tmp_path / "noise.toml"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ProfileError, match=r"noise\.toml"):
        load(str(path))


KEYS = [
    "adc",
    "knob",
    "switch",
    "led",
    "chip",
    "spi",
    "pins",
    "i2c",
    "name",
    "bits",
    "sim",
    "channel",
    "control",
    "law",
]
KEYS += [
    "minimum",
    "maximum",
    "takeover",
    "inverted",
    "low",
    "high",
    "hysteresis",
    "motion_ms",
    "pedal",
    "line",
]
KEYS += ["action", "long", "shows", "scan_hz", "title", "gpiochip"]
WORDS = st.sampled_from(
    ["mcp3008", "iio", "ads1115", "x", "gain", "lowpass_hz", "bypass", "tap", "on", "log", "steps"]
)
LEAVES = WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ROWS = st.dictionaries(
    st.sampled_from(KEYS), LEAVES | st.lists(st.integers(0, 80), max_size=5), max_size=6
)


@given(
    st.dictionaries(st.sampled_from(KEYS), LEAVES | st.lists(ROWS | LEAVES, max_size=3), max_size=5)
)
def test_parse_accepts_any_table_or_raises_profile_error(table) -> None:
    try:
        parse(table, Path("mine.toml"))
    except ProfileError as error:
        assert "mine.toml" in str(error)
        assert len(str(error)) < 1000


def test_leds_of_invalid_profile_are_usable(tmp_path) -> None:
    bad = written(tmp_path, GOOD.replace('"x"', '"xx"'))
    assert [led.shows for led in leds_of(bad).leds] == ["on"]
    assert not leds_of(bad).knobs
    for nothing in (
        "nosuch",
        str(tmp_path / "nosuch.toml"),
        written(tmp_path, GOOD.replace('"on"', '"off"')),
    ):
        assert not leds_of(nothing).leds


@pytest.mark.parametrize("kind", ["knob", "switch", "led", "adc"])
def test_reference_names_every_key(tmp_path: Path, kind: str) -> None:
    """The error of an unknown key lists all keys."""
    text = re.sub(rf"({kind} = \[\s*{{)", r"\1 qqq = 1,", GOOD)
    with pytest.raises(ProfileError, match="unknown key 'qqq': there are ") as error:
        load(written(tmp_path, text))
    keys = str(error.value).partition("there are ")[2].split(", ")
    reference = REFERENCE.read_text()
    assert len(keys) >= 2
    for key in keys:
        assert re.search(rf"`{key}`|\b{key} = ", reference), key


def test_example_of_the_reference_is_a_profile(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", REFERENCE.read_text(), re.DOTALL)
    assert example is not None
    assert len(load(written(tmp_path, example[1])).knobs) == 3


def test_error_of_syntax_has_file_line_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as error:
        load(written(tmp_path, GOOD.replace('"gain"', "gain")))
    told = str(error.value)
    assert "mine.toml" in told and "line 4: invalid value" in told and "control = gain" in told
    assert "texts in quotes" in told
