"""Options that `nverb run`, `demo`, `audio` and `control` share, and their values from settings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.errors import UserError

if TYPE_CHECKING:
    from firmware_py.state.settings import Settings

DEFAULT = "(default: as `nverb settings` says)"


def add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inputs",
        metavar="PORTS",
        help=f"auto, stereo, mono, or one or two ports by number or name: 2, 3,4 {DEFAULT}",
    )
    parser.add_argument("--outputs", metavar="PORTS", help=f"the same for outputs {DEFAULT}")
    parser.add_argument("--max-ir-seconds", type=float, help=f"longest room, 0.1 to 10 s {DEFAULT}")
    parser.add_argument(
        "--block", type=int, help=f"frames in a block, if JACK is started here {DEFAULT}"
    )
    parser.add_argument(
        "--rate", type=int, help=f"sampling rate in Hz, if JACK is started here {DEFAULT}"
    )


def add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--midi", choices=("auto", "alsa", "jack", "off"), help=f"where MIDI comes from {DEFAULT}"
    )
    parser.add_argument(
        "--osc", metavar="[ADDRESS:]PORT", help=f"listen to OSC at this UDP port, or off {DEFAULT}"
    )
    parser.add_argument(
        "--true-stereo",
        choices=("auto", "on", "off"),
        help=f"rooms for two sources: each sounds on both sides {DEFAULT}",
    )


def add_rooms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bank",
        type=Path,
        help="bank with the rooms (default: the one in use, else the one that comes with nverb)",
    )


def engine_arguments(args: argparse.Namespace) -> list[str]:
    """The options of the audio process."""
    return [
        *("--inputs", args.inputs, "--outputs", args.outputs),
        *("--max-ir-seconds", str(args.max_ir_seconds)),
    ]


def fill_from_settings(args: argparse.Namespace, *, service: bool = False) -> Settings:
    """Fill options that were not given from the settings file, and check them. Returns the
    settings.

    A bad settings file stops a command, but not a service: see load_for_service. One that cannot
    be read stops neither: the pedal plays.
    """
    from firmware_py.base import log
    from firmware_py.state import settings as settings_file

    try:
        settings = settings_file.load()
    except (UserError, OSError) as error:
        if not service and isinstance(error, UserError):
            raise
        settings, trouble = settings_file.load_for_service()
        if trouble:
            log.logger().error(trouble)
    log.set_level(settings.log_level)
    for argument, key in (
        ("inputs", "inputs"),
        ("outputs", "outputs"),
        ("true_stereo", "true_stereo"),
        ("max_ir_seconds", "max_ir_s"),
        ("block", "block_frames"),
        ("rate", "rate_hz"),
        ("profile", "profile"),
        ("midi", "midi"),
        ("osc", "osc"),
    ):
        if getattr(args, argument, "") is None:
            setattr(args, argument, getattr(settings, key))
    if "block" in args:
        _check(args)
    return settings


def _check(args: argparse.Namespace) -> None:
    if not 0.1 <= args.max_ir_seconds <= 10:
        raise UserError(f"--max-ir-seconds {args.max_ir_seconds:g}: from 0.1 to 10")
    for option in ("inputs", "outputs"):
        _check_ports(option, getattr(args, option))
    check_block(args.block)
    check_rate(args.rate)


def _check_ports(option: str, value: str) -> None:
    from firmware_py.base.port_names import ports_of
    from firmware_py.state.settings import HELP

    try:
        ports_of(value)
    except ValueError:
        raise UserError(f"--{option} {value}: {HELP[option]}") from None


def check_block(frames: int, *, aligned: bool = False) -> None:
    """`aligned`: only sizes that add no latency, see dsp/reblock.h. Raises UserError."""
    from firmware_py.base.limits import BLOCK_SIZES

    if frames not in BLOCK_SIZES or (aligned and frames % 16):
        kind = "a multiple of 16, " if aligned else ""
        raise UserError(f"--block {frames}: {kind}from {BLOCK_SIZES[0]} to {BLOCK_SIZES[-1]}")


def check_rate(hz: int) -> None:
    from firmware_py.base.limits import RATES_HZ

    if hz not in RATES_HZ:
        raise UserError(f"--rate {hz}: from 8000 to 192000 Hz")
