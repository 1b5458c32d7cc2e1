"""The table of controls: everything that knobs, switches, MIDI, presets and commands can set.

A row has name, unit, range, law, default and smoothing. `nverb --help`, the documents, the checks
of input and the control process read this table; no other module has a range of its own.

A control's *value* is in its unit (dB, ms, Hz, ...; a switch is 0.0 or 1.0). Its *position* is that
of a knob, 0 at one end and 1 at the other. The law relates them:

| law    | value at position p                   | for                                         |
|--------|---------------------------------------|---------------------------------------------|
| linear | minimum + span * p                    | most                                        |
| log    | minimum * (maximum / minimum) ** p    | frequencies, ratios: equal turns are equal  |
|        |                                       | intervals                                   |
| square | minimum + span * p ** 2               | times from 0: fine steps for short ones     |
| cubic  | minimum + span * cbrt(p)              | a gain in dB from silence                   |
| steps  | the linear law to the nearest integer | rotary switches                             |
| switch | 0 below the middle, 1 from there on   | on and off                                  |

The cubic law is the gain taper of the reference plug-in. Its source declares a power mapping with
exponent 1/3 over -140..12 dB, which we read as value = minimum + span * p ** exponent: 0 dB is at
0.78 of the travel, -19 dB at the middle, and the top 40 dB take four fifths. The inverse reading,
position ** 3 over the range, would have -121 dB at the middle.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from device.modulation import MODULATORS, SOURCES, TARGETS
from dsp.errors import InvalidValue, UserError, did_you_mean
from models.latent import BEYOND, KNOB_STEPS, LATENT_LIMIT

Law = Literal["linear", "log", "square", "cubic", "steps", "switch"]
LAWS: tuple[Law, ...] = ("linear", "log", "square", "cubic", "steps", "switch")
Target = Literal["engine", "room", "pedal"]


class UnknownControl(InvalidValue):
    """No control has this name."""


class OutOfRange(InvalidValue):
    """The control cannot have this value. The message has the range."""


class Control(NamedTuple):
    """One row of the table.

    target says who acts on it: "engine" the audio process, through the mailbox; "room" a new impulse response is
    made; "pedal" the control process itself. smoothing_ms is the time that the engine takes to follow a change (0:
    not its business; for all of the room, `fade` is the time). cc is the MIDI controller that moves it unless another
    was learnt. param names the engine's parameter that an "engine" control sets (dsp/engine_params.h); % become a
    fraction there.
    """

    name: str
    title: str
    unit: str
    minimum: float
    maximum: float
    law: Law
    default: float
    smoothing_ms: float
    target: Target
    cc: int | None
    param: str
    help: str
    choices: tuple[str, ...] = ()
    """Names of the steps, from `minimum` on, by which a value is written."""
    end: str = ""
    """The name of the value `maximum`, if it has one."""

    def checked(self) -> Control:
        """This row. Raises ValueError if it contradicts itself."""
        if not self.minimum < self.maximum:
            raise ValueError(
                f"control {self.name}: minimum {self.minimum:g} must be below maximum {self.maximum:g}"
            )
        if self.law not in LAWS:
            raise ValueError(
                f"control {self.name}: no law {self.law!r}; there are {', '.join(LAWS)}"
            )
        if self.choices and len(self.choices) != self.maximum - self.minimum + 1:
            raise ValueError(f"control {self.name}: each step needs a name")
        if self.law == "log" and self.minimum <= 0:
            raise ValueError(f"control {self.name}: a log law needs a minimum above 0")
        if (self.target == "engine") != bool(self.param):
            raise ValueError(f"control {self.name}: engine controls name a parameter, others none")
        return self

    @property
    def is_switch(self) -> bool:
        return self.law == "switch"


X_HELP = "the room: decay time, in nverb's rooms; else the first axis of the bank or model"
Y_HELP = "the room: brightness, in nverb's rooms; else the second axis"
Z_HELP = "the room: early character, in nverb's rooms; else the third axis"
COLOUR_HELP = "latent axis 4 to 8 of a decoder: the colour of a preset, set by `nverb encode`"
BEYOND_HELP = (
    "added to {}: how far an encoded room is beyond an end of the knob; set by `nverb encode`"
)

FREE = "free"
_LENGTHS = {"": 1.0, "d": 1.5, "t": 2 / 3}
NOTE_BEATS = dict(
    sorted(
        ((f"1/{n}{dot}", 4 / n * f) for n in (1, 2, 4, 8, 16, 32) for dot, f in _LENGTHS.items()),
        key=lambda note: note[1],
    )
)
"""Length of a note in beats; from the shortest to the longest, so that a knob turns through them."""
NOTES = (FREE, *NOTE_BEATS)
INTERVALS = ("+12", "+7", "+5", "-12")
"""Of the shimmer, in semitones; dsp/shimmer.h."""

# Chosen defaults. x, y, z: the centre of the latent space (0, 0, 0), where a trained decoder has
# seen most rooms and every direction has the same range; 0, 0, 0 of the plug-in is a corner.
# mix: the pedal is in series with the instrument, so the default keeps the dry signal; the plug-in
# is on a send and defaults to 100. gain, mix_law: the pedal is as loud as without it, within 1 LU.
# fmt: off
CONTROLS: tuple[Control, ...] = (
    #       name           title           unit  minimum  maximum     law       default         ms  target    cc  param          help
    Control("gain",        "Gain",         "dB", -140,    12,         "cubic",  0,              20, "engine", 7,  "gain_db",     "input gain; the lowest value is silence"),
    Control("x",           "X",            "",   0,       KNOB_STEPS, "linear", KNOB_STEPS / 2, 0,  "room",   16, "",            X_HELP),
    Control("y",           "Y",            "",   0,       KNOB_STEPS, "linear", KNOB_STEPS / 2, 0,  "room",   17, "",            Y_HELP),
    Control("z",           "Z",            "",   0,       KNOB_STEPS, "linear", KNOB_STEPS / 2, 0,  "room",   18, "",            Z_HELP),
    Control("width",       "Width",        "",   -4,      4,          "linear", 1,              0,  "room",   19, "",            "0 mono, 1 natural stereo, above 1 wider, below 0 sides swapped"),
    Control("image",       "Image",        "",   0,       1,          "steps",  0,              0,  "room",   94, "",            "ears: left and right as at two ears, one sound in the bass; spaced: as of two microphones in the room", ("ears", "spaced")),
    Control("predelay",    "Pre-delay",    "ms", 0,       2000,       "square", 0,              20, "engine", 12, "predelay_ms", "delay before the room starts, while predelay_sync is free"),
    Control("predelay_sync", "Pre-delay note", "", 0,     len(NOTES) - 1, "steps", 0,          20, "pedal",  119, "",           "pre-delay as a note at the tempo (d dotted, t triplet), halved until it fits; free: predelay", NOTES),
    Control("tempo",       "Tempo",        "BPM", 30,     300,        "log",    120,            0,  "pedal",  118, "",           "tempo: from taps, MIDI clock, or a number"),
    Control("midi_clock",  "MIDI clock",   "",   0,       1,          "switch", 1,              0,  "pedal",  None, "",          "on: the tempo follows MIDI clock while there is one"),
    Control("lowpass",     "Low-pass",     "",   0,       1,          "switch", 0,              20, "engine", 80, "lowpass_on",  "low-pass filter of the wet sound"),
    Control("lowpass_hz",  "Low-pass Fc",  "Hz", 500,     20000,      "log",    4000,           20, "engine", 74, "lowpass_hz",  "low-pass cutoff (second order, Q 0.71)"),
    Control("highpass",    "High-pass",    "",   0,       1,          "switch", 0,              20, "engine", 81, "highpass_on", "high-pass filter of the wet sound"),
    Control("highpass_hz", "High-pass Fc", "Hz", 20,      5000,       "log",    200,            20, "engine", 75, "highpass_hz", "high-pass cutoff (second order, Q 0.71)"),
    Control("mix",         "Mix",          "%",  0,       100,        "linear", 35,             20, "engine", 91, "mix",         "0 dry only, 100 wet only"),
    Control("mix_law",     "Mix law",      "",   0,       2,          "steps",  0,              20, "engine", 90, "mix_law",     "unity: the dry sound stays up to 50 %; power: equal power; linear: the plug-in's", ("unity", "power", "linear")),
    Control("decay",       "Decay",        "x",  0.25,    16,         "log",    1,              0,  "room",   72, "",            "factor on every decay time of the room; at its end, infinite, the room never ends", end="infinite"),
    Control("size",        "Size",         "x",  0.5,     2,          "log",    1,              0,  "room",   76, "",            "factor on the room's dimensions"),
    Control("tilt",        "Tilt",         "dB", -12,     12,         "linear", 0,              0,  "room",   77, "",            "spectral tilt: + brighter, - darker, end to end"),
    Control("early_late",  "Early/late",   "dB", -12,     12,         "linear", 0,              0,  "room",   78, "",            "+ louder late part, - louder early reflections"),
    Control("direct",      "Direct",       "",   0,       1,          "switch", 0,              0,  "room",   89, "",            "on: the wet sound has the room's direct sound, too, and pre-delay moves it"),
    Control("attack",      "Attack",       "ms", 0,       500,        "linear", 0,              0,  "room",   73, "",            "fade-in time of the room"),
    Control("reverse",     "Reverse",      "",   0,       1,          "switch", 0,              0,  "room",   82, "",            "plays the room backwards"),
    Control("recording",   "Recording",    "",   0,       127,       "steps",  0,              0,  "room",   70, "",            "of a bank of recordings: 1, 2 ... plays that one, wherever x, y and z are; 0 those around them"),
    Control("residual",    "Residual",     "",   0,       KNOB_STEPS, "linear", 3,              0,  "room",   None, "",          "how far around an encoded room x, y and z keep a part of what it was measured to be; 0: nothing"),
    Control("resampling",  "Resampling",   "",   0,       1,          "switch", 1,              0,  "room",   87, "",            "on: resamples 16 kHz plug-in rooms; off: sample for sample"),
    Control("fade",        "Fade",         "ms", 5,       500,        "log",    15,             0,  "engine", 79, "fade_ms",     "crossfade time when the room changes"),
    Control("tails",       "Tails",        "",   0,       2,          "steps",  0,              0,  "engine", 88, "tails",       "what rings when the room changes: keeps its room, follows the new one, or is cut", ("keep", "follow", "cut")),
    Control("bypass",      "Bypass",       "",   0,       1,          "switch", 0,              20, "engine", 83, "bypass",      "on: the input passes unprocessed"),
    Control("trails",      "Trails",       "",   0,       1,          "switch", 1,              20, "engine", 85, "trails",      "on: the tail rings out in bypass; off: it is cut"),
    Control("lock",        "Lock",         "",   0,       1,          "switch", 0,              0,  "pedal",  93, "",            "on: the room is kept when knobs move"),
    Control("hold",        "Hold",         "",   0,       1,          "switch", 0,              20, "engine", 64, "hold",        "on: what rings now goes on ringing, until off"),
    Control("hold_mode",   "Hold mode",    "",   0,       1,          "steps",  0,              20, "engine", 92, "hold_mode",   "freeze: nothing is added to what is held; layer: what is played is", ("freeze", "layer")),
    Control("movement",    "Movement",     "%",  0,       100,        "linear", 0,              2600, "engine", 104, "movement",   "how far the pitch of the wet sound swings: 1.5 cents at 30 %, 12 at most; 0: not at all"),
    Control("movement_rate", "Movement rate", "Hz", 0.05, 5,          "log",    0.3,            2600, "engine", 105, "movement_hz", "how often it swings"),
    Control("shimmer",     "Shimmer",      "%",  0,       100,        "linear", 0,              60, "engine", 106, "shimmer",    "how much of the tail rises by shimmer_interval, again and again; 0: nothing"),
    Control("shimmer_interval", "Shimmer interval", "", 0, len(INTERVALS) - 1, "steps", 0,       100, "engine", 107, "shimmer_interval", "by how many semitones it rises, or falls", INTERVALS),
    Control("duck",        "Duck",         "dB", 0,       24,         "linear", 0,              20, "engine", 108, "duck_db",    "how far the wet sound goes down while you play; 0: not at all"),
    Control("duck_release_ms", "Duck release", "ms", 50,  1000,       "log",    300,            0,  "engine", 109, "duck_release_ms", "how fast the wet sound comes up in a pause"),
    Control("gate",        "Gate",         "",   0,       1,          "switch", 0,              5,  "engine", 110, "gate_on",    "on: what is softer than gate_db does not reach the room"),
    Control("gate_db",     "Gate opens",   "dB", -80,     -10,        "linear", -50,            5,  "engine", 111, "gate_db",    "input level at which the gate opens; it holds down to 6 dB below"),
    Control("gate_hold_ms", "Gate hold",   "ms", 0,       1000,       "linear", 100,            0,  "engine", 112, "gate_hold_ms", "how long the gate stays open after that"),
    Control("gate_release_ms", "Gate release", "ms", 5,   1000,       "log",    100,            0,  "engine", 113, "gate_release_ms", "how fast the gate closes then"),
    Control("tone_low",    "Tone low",     "dB", -12,     12,         "linear", 0,              20, "engine", 116, "tone_low_db", "low shelf of the wet sound, around 250 Hz"),
    Control("tone_high",   "Tone high",    "dB", -12,     12,         "linear", 0,              20, "engine", 117, "tone_high_db", "high shelf of the wet sound, around 3 kHz"),
    Control("level",       "Level",        "dB", -40,     12,         "linear", 0,              20, "engine", 115, "level_db",   "output level, of dry and wet sound; not in bypass"),
    Control("kill_dry",    "Kill dry",     "",   0,       1,          "switch", 0,              20, "engine", 114, "kill_dry",   "on: no dry sound, not even in bypass: for the effect loop of an amplifier that has its own"),
    Control("morph",       "Morph",        "%",  0,       100,        "linear", 0,              0,  "pedal",  14, "",            "from scene A of the preset (0) to its scene B (100)"),
    Control("morph_glide_s", "Morph glide", "s", 0,       30,         "square", 2,              0,  "pedal",  15, "",            "how long a footswitch takes from one scene to the other"),
    *(
        row
        for n in MODULATORS
        for row in (
            Control(f"mod{n}_source", f"Mod {n} source", "", 0, len(SOURCES) - 1, "steps", 0, 0, "pedal", None, "", "what moves the target: an oscillator, the level of the input, or a controller", SOURCES),
            Control(f"mod{n}_target", f"Mod {n} target", "", 0, len(TARGETS) - 1, "steps", 0, 0, "pedal", None, "", "the control that is moved around its value", TARGETS),
            Control(f"mod{n}_depth", f"Mod {n} depth", "%", -100, 100, "linear", 20, 0, "pedal", None, "", "how far, in % of the target's travel; negative: the other way"),
            Control(f"mod{n}_offset", f"Mod {n} offset", "%", -100, 100, "linear", 0, 0, "pedal", None, "", "moves the middle, in % of the target's travel"),
            Control(f"mod{n}_rate_hz", f"Mod {n} rate", "Hz", 0.02, 10, "log", 0.2, 0, "pedal", None, "", "of an oscillator, while its sync is free"),
            Control(f"mod{n}_sync", f"Mod {n} note", "", 0, len(NOTES) - 1, "steps", 0, 0, "pedal", None, "", "period of an oscillator as a note at the tempo; free: its rate", NOTES),
        )
    ),
    Control("expression",  "Expression",   "%",  0,       100,        "linear", 0,              0,  "pedal",  11, "",            "an expression pedal, as source of a modulator"),
    Control("wheel",       "Wheel",        "%",  0,       100,        "linear", 0,              0,  "pedal",  1, "",             "a modulation wheel or other controller, as source of a modulator"),
    Control("limiter",     "Limiter",      "",   0,       1,          "switch", 1,              20, "engine", 86, "limiter_on",  "limits output peaks to full scale and removes DC offset"),
    *(
        Control(f"colour{n}", f"Colour {n}", "", -LATENT_LIMIT, LATENT_LIMIT, "linear", 0, 0, "room", None, "", COLOUR_HELP)
        for n in range(1, 6)
    ),
    *(
        Control(f"beyond_{axis}", f"Beyond {axis.upper()}", "", -BEYOND, BEYOND, "linear", 0, 0, "room", None, "", BEYOND_HELP.format(axis))
        for axis in "xyz"
    ),
)
# fmt: on

RENAMED = {"freeze": "lock"}
"""What was called otherwise in older presets, MIDI maps and profiles."""
FOR_THE_FOOT = ("lock", "hold", "bypass")
"""Controls that nobody expects as they were left when the pedal is switched on."""
NOT_KEPT = (*FOR_THE_FOOT, "tempo", "midi_clock", "expression", "wheel")
"""Controls that are not part of a preset. The tempo is the band's; pedals are where feet are."""
ADDED_LATER = (
    "duck",
    "gate",
    "tone_low",
    "tone_high",
    "movement",
    "shimmer",
    "predelay_sync",
    "hold_mode",
    "morph",
    "mod1_source",
    "mod2_source",
    "beyond_x",
    "beyond_y",
    "beyond_z",
)
"""Controls of the sound that presets did not always have: one without them plays their defaults, so
that it sounds as when it was saved."""

LAW_TEXTS: dict[Law, str] = {
    "linear": "minimum + span x p",
    "log": "minimum x (maximum / minimum)^p",
    "square": "minimum + span x p^2: a time from 0, with fine steps for short ones",
    "cubic": "minimum + span x cube root of p: a gain in dB from silence",
    "steps": "the linear law to the nearest integer",
    "switch": "off below the middle, on from there",
}


def is_infinite(decay: float) -> bool:
    """Whether this value of the control `decay` is its end: the room never ends."""
    return decay >= find("decay").maximum


_BY_NAME = {control.name: control.checked() for control in CONTROLS}


def find(name: str) -> Control:
    """The control of that name. Ignores case and takes `-` for `_`.

    Raises UnknownControl with the nearest names.
    """
    wanted = name.strip().lower().replace("-", "_")
    wanted = RENAMED.get(wanted, wanted)
    if wanted in _BY_NAME:
        return _BY_NAME[wanted]
    hint = did_you_mean(wanted, _BY_NAME, count=3, cutoff=0.5)
    raise UnknownControl(f"no control {name[:64]!r}: {hint}")


def renamed(names: Iterable[str]) -> str:
    """What to say of names that are found under others now; "" if none is."""
    return ", ".join(f"{name} is called {RENAMED[name]} now" for name in names if name in RENAMED)


def describe_range(control: Control) -> str:
    """The legal values in words: `-140 to 12 dB`, `on or off`."""
    if control.is_switch:
        return "on or off"
    if control.choices:
        return ", ".join(control.choices[:-1]) + f" or {control.choices[-1]}"
    text = f"{control.minimum:g} to {control.maximum:g} {control.unit}".rstrip()
    return f"{text}, {control.end}" if control.end else text


def check(control: Control, value: float) -> float:
    """The value as a float. Raises OutOfRange if the control cannot have it."""
    value = float(value)
    if not (math.isfinite(value) and control.minimum <= value <= control.maximum):
        raise OutOfRange(f"{control.name} = {value:g}: the range is {describe_range(control)}")
    if control.law in ("switch", "steps") and value != round(value):
        what = (
            "it is on (1) or off (0)"
            if control.is_switch
            else f"whole steps, {describe_range(control)}"
        )
        raise OutOfRange(f"{control.name} = {value:g}: {what}")
    return value


def to_value(control: Control, position: float) -> float:
    """The value at a position. Positions outside 0..1 are clamped; the ends give exact limits."""
    if position <= 0:
        return control.minimum
    if position >= 1:
        return control.maximum
    span = control.maximum - control.minimum
    match control.law:
        case "linear":
            value = control.minimum + span * position
        case "log":
            value = control.minimum * (control.maximum / control.minimum) ** position
        case "square":
            value = control.minimum + span * position**2
        case "cubic":
            value = control.minimum + span * math.cbrt(position)
        case "steps":
            value = float(round(control.minimum + span * position))
        case "switch":
            value = float(position >= 0.5)
    return min(max(value, control.minimum), control.maximum)


def to_position(control: Control, value: float) -> float:
    """The position of a value, 0..1: the inverse of `to_value`. Clamps values to the range."""
    value = min(max(value, control.minimum), control.maximum)
    fraction = (value - control.minimum) / (control.maximum - control.minimum)
    match control.law:
        case "log":
            return math.log(value / control.minimum) / math.log(control.maximum / control.minimum)
        case "square":
            return math.sqrt(fraction)
        case "cubic":
            return fraction**3
        case _:
            return fraction


_WORDS = {
    "on": 1.0,
    "off": 0.0,
    "true": 1.0,
    "false": 0.0,
    "yes": 1.0,
    "no": 0.0,
    "1": 1.0,
    "0": 0.0,
}
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z%]*)\s*", re.IGNORECASE)
_SCALES = {
    "": {},
    "dB": {"db": 1.0},
    "ms": {"ms": 1.0, "s": 1000.0},
    "s": {"s": 1.0, "ms": 0.001},
    "Hz": {"hz": 1.0, "khz": 1000.0, "k": 1000.0},
    "%": {"%": 1.0},
    "BPM": {"bpm": 1.0},
    "x": {"x": 1.0, "%": 0.01},
}


def parse(control: Control, text: str) -> float:
    """The value of a text: `on`, `-3 dB`, `2 kHz`, `0.02 s`, `40%`, `17`. Raises OutOfRange."""
    text = text[:64]
    if control.is_switch:
        try:
            return _WORDS[text.strip().lower()]
        except KeyError:
            raise OutOfRange(f"{control.name} = {text!r}: it is on or off") from None
    if text.strip().lower() in control.choices:
        return control.minimum + control.choices.index(text.strip().lower())
    if control.end and text.strip().lower() == control.end:
        return control.maximum
    match = _NUMBER.fullmatch(text)
    scales = _SCALES[control.unit]
    unit = match[2].lower() if match else ""
    if match is None or (unit and unit not in scales):
        example = format(control, control.default)
        raise OutOfRange(
            f"{control.name} = {text!r}: write a number such as {example!r}, {describe_range(control)}"
        )
    return check(control, float(match[1]) * scales.get(unit, 1.0))


def defaults() -> dict[str, float]:
    """The default value of every control, by name."""
    return {control.name: control.default for control in CONTROLS}


def at_rest() -> dict[str, float]:
    """The controls that are for the foot, as when nobody has stepped on a switch."""
    return {name: find(name).default for name in FOR_THE_FOOT}


def added_later() -> dict[str, float]:
    """What a preset plays of the controls that it has from before they existed."""
    return {name: find(name).default for name in ADDED_LATER}


def resolve(control: Control, text: str, now: float) -> float:
    """The value of a text that may refer to the value `now`; else as `parse`.

    `toggle`: the other state of a switch. `+=1`, `-=1`: a step, clamped to the range. `+1`, `-1`:
    the same for a control without negative values; for the others the sign belongs to the value.
    """
    text = text.strip()[:64]
    if text.lower() == "toggle" and control.is_switch:
        return 1.0 - now
    sign, number = text[:1], text[1:]
    if text in control.choices:
        return parse(control, text)
    if sign and sign in "+-" and not control.is_switch:
        if number.startswith("="):
            return _stepped(control, sign, number[1:], now)
        if control.minimum >= 0:
            return _stepped(control, sign, number, now)
    return parse(control, text)


def _stepped(control: Control, sign: str, number: str, now: float) -> float:
    match = _NUMBER.fullmatch(number)
    scales = _SCALES[control.unit]
    unit = match[2].lower() if match else ""
    if match is None or (unit and unit not in scales) or number[:1] in ("+", "-"):
        raise OutOfRange(f"{control.name} {sign}= {number!r}: write a step such as {sign}1")
    step = float(match[1]) * scales.get(unit, 1.0)
    value = min(max(now + (step if sign == "+" else -step), control.minimum), control.maximum)
    return check(control, value)


def split_assignments(words: Iterable[str]) -> dict[str, str]:
    """`["x=3", "mix+=5", "bypass=toggle"]` -> `{"x": "3", "mix": "+=5", "bypass": "toggle"}`.

    The texts are for `resolve`, and are checked here. Raises UserError if a word has no `=`,
    UnknownControl or OutOfRange (both InvalidValue) if its name or value is invalid.
    """
    texts = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"{word!r}: write NAME=VALUE, such as mix=40")
        if name[-1:] in ("+", "-"):
            name, text = name[:-1], f"{name[-1]}={text}"
        control = find(name)
        resolve(control, text, control.default)
        texts[control.name] = text
    return texts


def parse_assignments(words: Iterable[str], now: Mapping[str, float]) -> dict[str, float]:
    """`["x=3", "lowpass=toggle"]` -> `{"x": 3.0, "lowpass": 1.0}`; `now`: the values before.

    Raises as `split_assignments`.
    """
    return {
        name: resolve(find(name), text, now[name])
        for name, text in split_assignments(words).items()
    }


def format(control: Control, value: float) -> str:
    """The value as text that `parse` reads: `-3.0 dB`, `2.00 kHz`, `on`."""
    if control.is_switch:
        return "on" if value >= 0.5 else "off"
    if control.choices:
        return control.choices[round(value - control.minimum)]
    if control.end and value >= control.maximum:
        return control.end
    if control.unit == "Hz":
        if value >= 1000:
            return f"{value / 1000:.2f} kHz"
        return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} Hz"
    digits = 2 if control.unit in ("", "x") else 1
    return f"{value:.{digits}f} {control.unit}".rstrip()


def markdown() -> str:
    """The table in Markdown: `nverb controls --markdown > docs/controls.md`."""
    lines = [
        "# Controls",
        "",
        "Generated by `nverb controls --markdown` from the table in `device/controls.py`; a test",
        "keeps it current. A control can be set with `nverb set NAME=VALUE`, by MIDI (its CC, until",
        "another is learnt), by OSC, by a preset, and by a knob or footswitch of the board's profile.",
        "Smoothing is the time in which the sound follows a change; a crossfade takes `fade`.",
        "",
        "| control | range | law | default | smoothing | CC | in presets | what it does |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in CONTROLS:
        smoothing = {"engine": f"{row.smoothing_ms:g} ms", "room": "a crossfade", "pedal": "-"}[
            row.target
        ]
        cells = (
            f"`{row.name}`",
            describe_range(row),
            row.law,
            format(row, row.default),
            smoothing if row.smoothing_ms or row.target != "engine" else "-",
            "-" if row.cc is None else str(row.cc),
            "no" if row.name in NOT_KEPT else "yes",
            row.help,
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Laws: the value at a position p of the knob, 0 to 1.",
        "",
        "| law | value |",
        "|---|---|",
    ]
    lines += [f"| {law} | {text} |" for law, text in LAW_TEXTS.items()]
    return "\n".join(lines) + "\n"
