"""What the channels of a recording are: mono, stereo, true stereo, B-format, or files of their own.

    true stereo   left to left, left to right, right to left, right to right
    ambix         W Y Z X, SN3D (AmbiX), B-format of the first order
    fuma          W X Y Z, W 3 dB lower (Furse-Malham), as in .amb files
    lr-files      one file for each channel: name_L and name_R, name_LL .. name_RR, name_W .. name_Z

B-format is decoded to two cardioids at an angle.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bank.meaning import Meaning
from dsp.acoustics import onset
from dsp.errors import InvalidValue

Floats = NDArray[np.float32]

DIRECT_S = 0.001
COINCIDENT = 0.9
"""Correlation of the direct sound between coincident microphones, at least."""
ALIKE = 0.7
"""Correlation of channels of which one is a copy, such as cross paths that were made up."""
WORDS: tuple[tuple[str, Meaning], ...] = (
    ("ambix", "ambix"),
    ("fuma", "fuma"),
    ("furse", "fuma"),
    ("wxyz", "fuma"),
    ("wyzx", "ambix"),
    ("true.?stereo", "true-stereo"),
)
BFORMAT = re.compile(r"b.?format|(?<![a-z])foa(?![a-z])|ambisonic", re.IGNORECASE)


class Chosen(NamedTuple):
    """A meaning and why it was chosen; "" if the user said so, or nothing else is possible."""

    meaning: Meaning
    why: str = ""


def meaning_of(
    asked: Meaning, path: Path, samples: Floats, rate_hz: int, ambisonic: bool
) -> Chosen:
    """The meaning of a file's channels: as asked, or for "auto" by its header, its name, its
    sound. `ambisonic`: its header says B-format.

    Raises InvalidValue for a number of channels that has no meaning.
    """
    channels = len(samples)
    if asked not in ("auto", "lr-files"):
        needed = {"true-stereo": 4, "ambix": 4, "fuma": 4}.get(asked, 1)
        if channels < needed or (asked == "true-stereo" and channels > 4):
            raise InvalidValue(f"{channels} channels; {asked} has 4, choose other --channels")
        return Chosen(asked)
    if channels in (1, 2):
        return Chosen("mono" if channels == 1 else "stereo")
    if channels != 4:
        raise InvalidValue(
            f"{channels} channels; an IR has 1, 2 or 4 (L to L, L to R, R to L, R to R). "
            "--channels stereo takes the first two, ambix or fuma the first four"
        )
    if ambisonic or path.suffix.lower() == ".amb":
        return Chosen("fuma", "its header says B-format" if ambisonic else "an .amb file")
    for word, meaning in WORDS:
        if re.search(word, path.name, re.IGNORECASE):
            return Chosen(meaning, "by its name")
    by_sound = _by_sound(samples, rate_hz)
    if BFORMAT.search(path.name):
        meaning = by_sound if by_sound in ("ambix", "fuma") else "fuma"
        return Chosen(meaning or "fuma", "by its name")
    if path.suffix.lower() == ".irs" or by_sound is None:
        return Chosen("true-stereo")
    return Chosen(by_sound, "its channels hear the direct sound at the same time, as B-format does")


def _by_sound(samples: Floats, rate_hz: int) -> Meaning | None:
    """B-format by its sound: the direct sound is the same wave in all channels; in the room that
    follows no two are alike; in both the figures of eight together are as strong as W (SN3D), or
    twice as strong (Furse-Malham)."""
    begin = max(onset(samples[0]) - 2, 0)
    end = begin + max(8, int(DIRECT_S * rate_hz))
    direct, late = (part.astype(np.float64) for part in (samples[:, begin:end], samples[:, end:]))
    energy = (direct**2).sum(axis=1)
    heard = [c for c in (1, 2, 3) if energy[c] > 0.01 * energy[0]]
    if not energy[0] > 0 or not heard:
        return None
    if any(_likeness(direct[0], direct[c]) < COINCIDENT for c in heard):
        return None
    if any(_likeness(late[a], late[b]) > ALIKE for a in range(4) for b in range(a)):
        return None
    after = (late**2).sum(axis=1)
    if not after[0] > 0.01 * energy[0]:  # no room: only a wave from aside tells
        after = energy if len(heard) > 1 else np.ones(4)
    shares = after[1:] / after[0]
    ratio, room_ratio = energy[1:].sum() / energy[0], shares.sum()
    # In true stereo the last channel is as strong as the first, here it is no stronger than others.
    if min(ratio, room_ratio) > 0.5 and max(ratio, room_ratio) < 1.4 and shares.max() < 0.75:
        return "ambix"
    if min(ratio, room_ratio) > 1.4 and max(ratio, room_ratio) < 2.6:
        return "fuma" if shares[2] <= max(shares[0], shares[1]) else None
    return None


def _likeness(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Their correlation, 0 .. 1 whatever its sign; 0 for silence."""
    strength = float(np.sqrt((one @ one) * (other @ other)))
    return abs(float(one @ other)) / max(strength, 1e-30)


def with_meaning(samples: Floats, chosen: Chosen, angle_deg: float) -> tuple[Floats, str]:
    """The samples as 1, 2 or 4 channels of a room, and a note for the user, "" if there is none."""
    meaning, why = chosen
    if meaning == "mono" and len(samples) > 1:
        return samples.mean(axis=0, keepdims=True), f"the mean of {len(samples)} channels"
    if meaning == "stereo" and len(samples) > 2:
        taken = [0, 3] if len(samples) == 4 else [0, 1]
        return samples[taken], f"channels {taken[0] + 1} and {taken[1] + 1} of {len(samples)}"
    if meaning not in ("ambix", "fuma"):
        return samples, f"taken as {meaning} ({why})" if why else ""
    if meaning == "fuma":
        omni, front, left = samples[0] * np.float32(np.sqrt(2)), samples[1], samples[2]
    else:
        omni, left, front = samples[0], samples[1], samples[3]
    half = np.radians(angle_deg / 2)
    pair = [
        0.5 * omni + 0.5 * (np.cos(half) * front + side * np.sin(half) * left) for side in (1, -1)
    ]
    note = (
        f"taken as {meaning}{f' ({why})' if why else ''}: two cardioids {angle_deg:g} degrees apart"
    )
    return np.stack(pair).astype(np.float32), note


_SIDES: tuple[tuple[tuple[str, ...], Meaning], ...] = (
    (("LL", "LR", "RL", "RR"), "true-stereo"),
    (("W", "X", "Y", "Z"), "fuma"),
    (("L", "R"), "stereo"),
    (("left", "right"), "stereo"),
    (("1", "2", "3", "4"), "true-stereo"),
)


class Group(NamedTuple):
    """The files of one recording, one channel each, and the meaning of the channels together."""

    paths: tuple[Path, ...]
    meaning: Meaning


def grouped_files(paths: Iterable[Path], *, numbered: bool = False) -> list[Path | Group]:
    """Files, with those that are the channels of one recording as groups, by their names.

    `numbered`: name_1 to name_4 are one recording, too; without it they are four rooms.
    """
    left = dict.fromkeys(paths)
    found: list[Path | Group] = []
    for path in list(left):
        if path not in left:
            continue
        group = _group_of(path, left, numbered)
        found.append(group or path)
        for member in group.paths if group else (path,):
            left.pop(member, None)
    return found


def _group_of(path: Path, there: Container[Path], numbered: bool) -> Group | None:
    for sides, meaning in _SIDES if numbered else _SIDES[:-1]:
        match = re.fullmatch(rf"(.*[ _.\-]|)({sides[0]})", path.stem, re.IGNORECASE)
        if match is None:
            continue
        members = tuple(
            path.with_name(match[1] + _written_as(match[2], side) + path.suffix) for side in sides
        )
        if all(member in there for member in members):
            return Group(members, meaning)
    return None


def _written_as(example: str, side: str) -> str:
    """`side` in the case of `example`: right as Right if left is Left."""
    if example.islower():
        return side.lower()
    return side.title() if len(side) > 2 and example.istitle() else side.upper()


def partners(path: Path, *, numbered: bool) -> Group | None:
    """The files beside `path` that are the other channels of its recording."""
    beside = sorted(path.parent.glob("*" + path.suffix)) if path.parent.is_dir() else []
    for one in grouped_files(beside, numbered=numbered):
        if isinstance(one, Group) and path in one.paths:
            return one
    return None
