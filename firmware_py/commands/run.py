"""`nverb run`: JACK, the audio process and the control process under one supervisor."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

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
        "--card", help="ALSA card for JACK, such as hw:0 (default: as `nverb settings` says)"
    )
    run.add_argument("--dummy", action="store_true", help="run JACK without a sound card")
    run.add_argument(
        "--or-demo", action="store_true", help="play the demo if there is no sound card and no JACK"
    )
    add_inputs(run)
    add_engine(run)
    add_rooms(run)
    run.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from device.profile import load
    from firmware_py.base.paths import data_dir, lock
    from firmware_py.desk.supervisor import Supervisor
    from firmware_py.jack import server as jack
    from firmware_py.rooms.source import find_source

    fill_from_settings(args)
    profile = load(args.profile, data_dir())  # report a bad profile or bank before the start
    start = None
    server = os.environ.get("JACK_DEFAULT_SERVER")
    if not jack.is_running(server):
        driver = _driver(args)
        if driver is None:
            return _demo(args)
        start = _jack_starter(args, server, driver)
    lock_file = lock("run", "nverb run")
    find_source(args.bank)
    keys = profile.is_simulated and sys.stdin.isatty()
    Supervisor(_children(args, keys), start).run()
    lock_file.close()
    return 0


def _driver(args: argparse.Namespace) -> list[str] | None:
    """jackd's driver options; None: play the demo instead."""
    from dsp.errors import UserError
    from firmware_py.jack import server as jack

    cards = jack.sound_cards()
    card = args.card
    if card == "auto":
        card = next(iter(jack.sound_cards(recording=True) or cards), None)
    elif card.startswith("hw:") and not args.dummy and card.split(",")[0] not in cards:
        raise UserError(
            f"no sound card {card}: there are {', '.join(cards) or 'none'} (see `aplay -l`)"
        )
    if args.dummy or card == "dummy":
        return ["dummy"]
    if card:
        return ["alsa", "-d", card]
    if args.or_demo:
        return None
    raise UserError(
        "no sound card and no JACK server: plug one in, or try `nverb demo` or `nverb run --dummy`"
    )


def _demo(args: argparse.Namespace) -> int:
    from firmware_py.commands import demo

    print("no sound card and no JACK server here: playing the demo", flush=True)
    return demo.run(argparse.Namespace(**vars(args), out=demo.OUT, clip=None, seconds=demo.SECONDS))


def _jack_starter(
    args: argparse.Namespace, server: str | None, driver: list[str]
) -> Callable[[], JackServer]:
    from firmware_py.jack import server as jack

    # With a sound card jackd always tries real-time priority and reports when it may not have it.
    realtime = jack.take_limits() or driver != ["dummy"]

    def start() -> JackServer:
        return jack.JackServer(
            server, driver, block_frames=args.block, rate_hz=args.rate, realtime=realtime
        )

    return start


def _children(args: argparse.Namespace, keys: bool) -> list[Child]:
    """The audio and the control process; with `keys` the control process reads the keyboard."""
    from firmware_py.base.process import nverb_command
    from firmware_py.desk.supervisor import Child

    bank = ["--bank", str(args.bank)] if args.bank else []
    control = ["--profile", args.profile, *(["--keys"] if keys else []), *bank]
    control += ["--midi", args.midi, "--osc", args.osc]
    return [
        Child("audio", nverb_command("audio", *engine_arguments(args))),
        Child("control", nverb_command("control", *control), inherit_stdin=keys),
    ]
