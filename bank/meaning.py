"""The names of what the channels of a recording can be; see `bank.channels`. Imports nothing heavy:
the command line needs them."""

from __future__ import annotations

from typing import Literal, get_args

Meaning = Literal["auto", "mono", "stereo", "true-stereo", "ambix", "fuma", "lr-files"]
MEANINGS: tuple[Meaning, ...] = get_args(Meaning)
AUTO: Meaning = "auto"
