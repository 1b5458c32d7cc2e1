"""`nverb run`: JACK, the audio process and the control process under one supervisor."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from dsp.errors import UserError
from firmware_py.commands.engine_options import (
    add_engine,
    add_inputs,
    add_rooms,
    engine_arguments,
    fill_from_settings,
)

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers
    from firmware_py.desk.supervisor import Child
    from firmware_py.jack.server import JackServer
    from firmware_py.state.settings import Settings


def add_parser(subparsers: Subparsers) -> None:
    run = subparsers.add_parser(
        "run",
        help="run the pedal",
        description="Run the pedal: JACK (unless it runs), audio and control.",
    )
    run.add_argument(
        "--profile",
        help="the board: a profile's name (default: as `nverb settings` says; sim has knobs on the "
        "keyboard)",
    )
    run.add_argument(
        "--card", help="ALSA card for JACK, such as hw:USB (default: as `nverb settings` says)"
    )
    run.add_argument("--dummy", action="store_true", help="run JACK without a sound card")
    run.add_argument(
        "--or-demo", action="store_true", help="play the demo if there is no sound card and no JACK"
    )
    run.add_argument(
        "--fresh", action="store_true", help="start as after power-on, not as the pedal was left"
    )
    add_inputs(run)
    add_engine(run)
    add_rooms(run)
    run.set_defaults(handler=_run, as_owner=True)


def _run(args: argparse.Namespace) -> int:
    from firmware_py.base.paths import Lock
    from firmware_py.base.service import require_stopped
    from firmware_py.desk.orphans import end_orphans, mark_children
    from firmware_py.desk.supervisor import Supervisor
    from firmware_py.jack.cards import NoCard
    from firmware_py.rooms.source import find_source
    from firmware_py.state.session import forget_session

    settings = fill_from_settings(args)
    is_simulated = _is_simulated(args.profile)  # report a bad profile or bank before the start
    require_stopped()
    lock_file = Lock("run", "nverb run")
    end_orphans()
    if args.fresh:
        forget_session()
    mark_children()
    find_source(args.bank)
    settings = _changed(settings, args)
    start, environment = _sound(settings, named=bool(args.card))
    keys = is_simulated and sys.stdin.isatty()
    try:
        supervisor = Supervisor(_children(args, keys, environment), start, lock_file)
    except NoCard as error:
        lock_file.close()
        if args.or_demo and settings.card == "auto":
            return _demo(args)
        raise UserError(f"{error}; or try `nverb demo` or `nverb run --dummy`") from None
    supervisor.run()
    lock_file.close()
    return 0


def _is_simulated(profile: str) -> bool:
    """Whether the board of the profile is simulated. Raises UserError.

    A profile that cannot be read stops no start: the control process plays without the board.
    """
    from device.profile import load
    from firmware_py.base.paths import data_path

    try:
        return load(profile, data_path()).is_simulated
    except OSError:
        return False


def _changed(settings: Settings, args: argparse.Namespace) -> Settings:
    """The settings with what the command line says."""
    from firmware_py.jack.cards import normal_name
    from firmware_py.state import settings as settings_file

    if card := "dummy" if args.dummy else args.card:
        name = normal_name(card, f"--card {card}")
        settings = settings_file.checked(
            dataclasses.asdict(settings)
            | {"card": name, "capture_card": "same", "playback_card": "same"},
            "--card",
        )
    return dataclasses.replace(settings, block_frames=args.block, rate_hz=args.rate)


def _sound(
    settings: Settings, *, named: bool
) -> tuple[Callable[[], JackServer] | None, dict[str, str]]:
    """What starts jackd, if nothing else plays the sound; and the environment of its clients.

    A JACK server that runs (also one under D-Bus) is used; else PipeWire where it runs. `named`:
    the command line names a card, so PipeWire is left alone.
    """
    from firmware_py.base.log import logger
    from firmware_py.jack import pipewire, pipewire_cards, report
    from firmware_py.jack import server as jack
    from firmware_py.jack.start import Starter

    if jack.is_running(os.environ.get("JACK_DEFAULT_SERVER")):
        report.write(report.new("other"))
        return None, {}
    if settings.card != "dummy" and not named:
        environment = pipewire.environment(settings.block_frames, settings.rate_hz)
        if environment:
            found = report.new("PipeWire")
            environment |= pipewire_cards.use_cards(settings, environment, found)
            report.write(found)
            if found["changed"]:
                logger().warning(report.describe(found))
            return None, environment
    return Starter(settings, at_once=True), {}


def _demo(args: argparse.Namespace) -> int:
    from firmware_py.commands import demo

    print("no sound card and no JACK server here: playing the demo", flush=True)
    return demo.run(argparse.Namespace(**vars(args), out=demo.OUT, clip=None, seconds=demo.SECONDS))


def _children(args: argparse.Namespace, keys: bool, environment: dict[str, str]) -> list[Child]:
    """The audio and the control process; with `keys` the control process reads the keyboard."""
    from firmware_py.base.process import module_command, nverb_command
    from firmware_py.desk.supervisor import Child

    bank = ["--bank", str(args.bank)] if args.bank else []
    control = ["--profile", args.profile, *(["--keys"] if keys else []), *bank]
    control += ["--midi", args.midi, "--osc", args.osc, "--true-stereo", args.true_stereo]
    return [
        Child("audio", nverb_command("audio", *engine_arguments(args)), environment),
        Child("connections", module_command("firmware_py.jack.connections", "nverb"), environment),
        Child("control", nverb_command("control", *control), environment, inherit_stdin=keys),
    ]
