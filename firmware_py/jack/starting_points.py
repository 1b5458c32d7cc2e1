"""Where the mixers of usual sound cards start, until `nverb card save` keeps other settings.

The values are their makers', from the sources named here and in docs/card.md. They connect the line
inputs to the computer and the computer to the outputs; a card without a row needs no setting, or is
set by `mixer.unmuted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from firmware_py.jack.mixer_controls import Value


@dataclass(frozen=True)
class StartingPoint:
    """What the maker of a card sets.

    match: the card's identifiers or titles in /proc/asound/cards, which has
    "NUMBER [IDENTIFIER]: DRIVER - TITLE". gains: the controls of the input level, where the driver
    does not name them as ALSA does ("... Capture Volume").
    """

    title: str
    match: tuple[str, ...]
    source: str
    note: str
    values: Mapping[str, Value] = field(default_factory=dict)
    gains: tuple[str, ...] = ()


_PI_CODEC = "https://github.com/raspberrypi/Pi-Codec"
_AUDIO_INJECTOR = "https://github.com/Audio-Injector/stereo-and-zero"
_WM8960: Mapping[str, Value] = {
    "Capture Volume": 39,
    "Capture Switch": True,
    "Left Input Boost Mixer LINPUT1 Volume": 3,
    "Right Input Boost Mixer RINPUT1 Volume": 3,
    "Left Boost Mixer LINPUT1 Switch": True,
    "Right Boost Mixer RINPUT1 Switch": True,
    "Left Input Mixer Boost Switch": True,
    "Right Input Mixer Boost Switch": True,
    "ADC PCM Capture Volume": 195,
    "ALC Function": "Off",
    "Noise Gate Switch": False,
    "Playback Volume": 255,
    "Left Output Mixer PCM Playback Switch": True,
    "Right Output Mixer PCM Playback Switch": True,
    "Left Output Mixer Boost Bypass Switch": False,
    "Right Output Mixer Boost Bypass Switch": False,
}
STARTING_POINTS = (
    StartingPoint(
        "Raspberry Pi Codec Zero, IQaudIO Pi-Codec Zero and Codec+",
        ("RPi Codec Zero", "IQaudIOCODEC"),
        f"{_PI_CODEC} (Codec_Zero_AUXIN_record_and_HP_playback.state)",
        "AUX IN to AUX OUT; its microphones are off",
        {
            "Aux Volume": 53,
            "Aux Switch": True,
            "Mixin PGA Volume": 7,
            "Mixin PGA Switch": True,
            "ADC Volume": 112,
            "ADC Switch": True,
            "ADC HPF Switch": False,
            "ADC Voice Mode Switch": False,
            "ALC Switch": False,
            "Mic 1 Switch": False,
            "Mic 2 Switch": False,
            "Mixin Left Aux Left Switch": True,
            "Mixin Left Mic 1 Switch": False,
            "Mixin Left Mic 2 Switch": False,
            "Mixin Right Aux Right Switch": True,
            "Mixin Right Mic 1 Switch": False,
            "Mixin Right Mic 2 Switch": False,
            "DAI Left Source MUX": "ADC Left",
            "DAI Right Source MUX": "ADC Right",
            "DAC Left Source MUX": "DAI Input Left",
            "DAC Right Source MUX": "DAI Input Right",
            "DAC Volume": 112,
            "DAC EQ Switch": False,
            "DAC NG Switch": False,
            "DAC Mono Switch": False,
            "DAC Soft Mute Switch": False,
            "Mixout Left DAC Left Switch": True,
            "Mixout Right DAC Right Switch": True,
            "Headphone Volume": 49,
            "Headphone Switch": True,
            "AUX Jack Switch": True,
            "HP Jack Switch": True,
        },
        ("Aux Volume",),
    ),
    StartingPoint(
        "Audio Injector Stereo and Zero",
        ("audioinjectorpi",),
        f"{_AUDIO_INJECTOR} (asound.state.RCA.thru.test)",
        "RCA inputs; the knobs on the card set the levels, too",
        {
            "Input Mux": "Line In",
            "Line Capture Switch": True,
            "Mic Capture Switch": False,
            "Capture Volume": 23,
            "Output Mixer HiFi Playback Switch": True,
            "Output Mixer Line Bypass Switch": False,
            "Output Mixer Mic Sidetone Switch": False,
            "Playback Deemphasis Switch": False,
            "Master Playback Volume": 121,
        },
    ),
    StartingPoint(
        "Waveshare WM8960 Audio HAT",
        ("wm8960soundcard",),
        "https://github.com/waveshareteam/WM8960-Audio-HAT (wm8960_asound.state)",
        "its microphones, 29 dB boost",
        {**_WM8960, "Headphone Playback Volume": 109, "Speaker Playback Volume": 109},
    ),
    StartingPoint(
        "Seeed ReSpeaker 2-Mics Pi HAT",
        ("seeed2micvoicec",),
        "https://github.com/respeaker/seeed-voicecard (wm8960_asound.state)",
        "its microphones, 29 dB boost",
        {**_WM8960, "Headphone Playback Volume": 127, "Speaker Playback Volume": 127},
    ),
    StartingPoint(
        "HiFiBerry DAC+ ADC Pro, DAC2 ADC Pro",
        ("snd_rpi_hifiberry_dacplusadcpro",),
        "https://github.com/raspberrypi/linux (sound/soc/bcm/hifiberry_dacplusadcpro.c)",
        "unbalanced inputs, 0 dB; the driver offers -12 to 40 dB",
        {
            "ADC Left Input": "VINL1[SE]",
            "ADC Right Input": "VINR1[SE]",
            "ADC Mic Bias": "Mic Bias off",
            "PGA Gain Left": "0.0dB",
            "PGA Gain Right": "0.0dB",
        },
        ("PGA Gain Left", "PGA Gain Right"),
    ),
    StartingPoint(
        "HiFiBerry DAC+ ADC",
        ("snd_rpi_hifiberry_dacplusadc",),
        "https://github.com/raspberrypi/linux (sound/soc/bcm/hifiberry_dacplusadc.c)",
        "its driver has no control of the inputs: see its data sheet for the jumpers of the gain",
    ),
    StartingPoint(
        "Blokas Pisound",
        ("pisound",),
        "https://github.com/BlokasLabs/pisound-docs (docs/audio.md)",
        "it has no mixer: turn its GAIN (0 to 40 dB) and VOLUME knobs; it plays at 48, 96 or 192 "
        "kHz",
    ),
)


def starting_point(identifier: str, title: str) -> StartingPoint | None:
    """The row of a card."""
    return next((p for p in STARTING_POINTS if {identifier, title} & set(p.match)), None)
