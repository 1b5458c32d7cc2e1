"""`nverb run`, `nverb demo`, and the processes of the pedal one by one: `nverb jack`, `nverb audio`, `nverb control`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any


def add_parsers(subparsers: Any) -> None:
    run = subparsers.add_parser(
        "run",
        help="run the pedal",
        description="Run the pedal: JACK (unless it runs), audio and control.",
    )
    run.add_argument(
        "--profile",
        help="the board: a profile's name (default: as `nverb settings` says; sim has knobs on the keyboard)",
    )
    run.add_argument(
        "--card", help="ALSA card for JACK, such as hw:0 (default: as `nverb settings` says)"
    )
    run.add_argument("--dummy", action="store_true", help="run JACK without a sound card")
    run.add_argument(
        "--or-demo", action="store_true", help="play the demo if there is no sound card and no JACK"
    )
    _add_doors(run)
    _add_engine(run)
    _add_rooms(run)
    run.set_defaults(handler=_run)

    demo = subparsers.add_parser(
        "demo",
        help="play a recorded clip through the live pedal while its knobs turn; write the sound and a picture",
        description="No sound card needed: JACK runs on its dummy driver, everything else is real.",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        metavar="FOLDER",
        help="where to write demo.wav, demo.png (default: %(default)s)",
    )
    demo.add_argument(
        "--clip", type=Path, help="the clip to play (default: one that comes with pyo)"
    )
    demo.add_argument("--seconds", type=float, default=24.0, help="length (default: %(default)s)")
    _add_engine(demo)
    _add_rooms(demo)
    demo.set_defaults(handler=_demo)

    jack = subparsers.add_parser(
        "jack",
        help="jackd alone, kept running (a service)",
        description="Run jackd as `nverb settings` says; start it again when it dies, hangs, or its sound card comes back.",
    )
    jack.set_defaults(handler=_jack)

    audio = subparsers.add_parser("audio", help="the audio process alone (a service)")
    audio.add_argument(
        "--client", default="nverb", help="name among JACK's clients (default: %(default)s)"
    )
    audio.add_argument("--no-connect", action="store_true", help="leave the JACK ports unconnected")
    audio.add_argument("--no-lock", action="store_true", help="do not lock memory")
    _add_engine(audio)
    audio.set_defaults(handler=_audio)

    control = subparsers.add_parser("control", help="the control process alone (a service)")
    control.add_argument(
        "--profile", help="the board: a profile's name (default: as `nverb settings` says)"
    )
    control.add_argument(
        "--keys", action="store_true", help="turn the simulated board's knobs by the keyboard"
    )
    control.add_argument(
        "--script",
        type=Path,
        help="turn the simulated board's knobs by a file: lines of SECONDS CONTROL POSITION",
    )
    _add_doors(control)
    _add_rooms(control)
    control.set_defaults(handler=_control)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    told = "(default: as `nverb settings` says)"
    parser.add_argument("--inputs", type=int, choices=(1, 2), help=f"input channels {told}")
    parser.add_argument("--max-ir-seconds", type=float, help=f"longest room, 0.1 to 10 s {told}")
    parser.add_argument(
        "--block", type=int, help=f"frames in a block, if JACK is started here {told}"
    )
    parser.add_argument(
        "--rate", type=int, help=f"sampling rate in Hz, if JACK is started here {told}"
    )


def _add_doors(parser: argparse.ArgumentParser) -> None:
    told = "(default: as `nverb settings` says)"
    parser.add_argument(
        "--midi", choices=("auto", "alsa", "jack", "off"), help=f"where MIDI comes from {told}"
    )
    parser.add_argument(
        "--osc", metavar="[ADDRESS:]PORT", help=f"listen to OSC at this UDP port, or off {told}"
    )


def _midi_api(choice: str) -> str:
    if choice != "auto":
        return choice
    from firmware_py.base.midi_support import usual_api

    return usual_api()


def _add_rooms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bank",
        type=Path,
        help="bank to take the rooms from (default: the one in use, else the one that comes with nverb)",
    )


def _engine_arguments(args: argparse.Namespace) -> list[str]:
    return ["--inputs", str(args.inputs), "--max-ir-seconds", str(args.max_ir_seconds)]


def _settle(args: argparse.Namespace, *, service: bool = False) -> None:
    """What was not asked for is as the settings file says. A bad file stops a command, but not a service: see load_for_service."""
    from dsp.errors import UserError
    from firmware_py.state import settings as settings_file

    if service:
        settings, trouble = settings_file.load_for_service()
        if trouble:
            print(f"nverb: {trouble}", file=sys.stderr, flush=True)
    else:
        settings = settings_file.load()
    for argument, key in (
        ("inputs", "inputs"),
        ("max_ir_seconds", "max_ir_s"),
        ("block", "block_frames"),
        ("rate", "rate_hz"),
        ("profile", "profile"),
        ("card", "card"),
        ("midi", "midi"),
        ("osc", "osc"),
    ):
        if getattr(args, argument, "") is None:
            setattr(args, argument, getattr(settings, key))
    if "block" not in args:
        return
    if not 0.1 <= args.max_ir_seconds <= 10:
        raise UserError(f"--max-ir-seconds {args.max_ir_seconds:g}: from 0.1 to 10")
    if args.block not in settings_file.BLOCK_SIZES:
        raise UserError(f"--block {args.block}: a power of two from 16 to 1024")
    if args.rate not in settings_file.RATES_HZ:
        raise UserError(f"--rate {args.rate}: from 8000 to 192000 Hz")


def _run(args: argparse.Namespace) -> int:
    from device.profile import load
    from dsp.errors import UserError
    from firmware_py.base.paths import data_dir, lock
    from firmware_py.base.process import command
    from firmware_py.desk.supervisor import Child, Supervisor
    from firmware_py.jack import server as jack
    from firmware_py.rooms.source import find_source

    _settle(args)
    server = os.environ.get("JACK_DEFAULT_SERVER")
    start = None
    profile = load(args.profile, data_dir())  # a bad profile, like a bad bank, is told now
    if not jack.is_running(server):
        cards = jack.sound_cards()
        card = args.card
        if card == "auto":
            card = next(iter(jack.sound_cards(recording=True) or cards), None)
        elif card.startswith("hw:") and not args.dummy and card.split(",")[0] not in cards:
            raise UserError(
                f"no sound card {card}: there are {', '.join(cards) or 'none'} (see `aplay -l`)"
            )
        if args.dummy or card == "dummy":
            driver = ["dummy"]
        elif card:
            driver = ["alsa", "-d", card]
        elif args.or_demo:
            print("no sound card and no JACK server here: playing the demo", flush=True)
            return _demo(argparse.Namespace(**vars(args), out=Path("out"), clip=None, seconds=24.0))
        else:
            raise UserError(
                "no sound card and no JACK server: plug one in, or try `nverb demo` or `nverb run --dummy`"
            )

        realtime = jack.take_limits() or driver != [
            "dummy"
        ]  # on a sound card jackd tries, and says so if it may not

        def start() -> jack.JackServer:
            return jack.JackServer(
                server, driver, block_frames=args.block, rate_hz=args.rate, realtime=realtime
            )

    held = lock("run", "nverb run")
    find_source(args.bank)
    keys = profile.is_simulated and sys.stdin.isatty()
    doors = ["--midi", args.midi, "--osc", args.osc]
    bank = ["--bank", str(args.bank)] if args.bank else []
    supervisor = Supervisor(
        [
            Child("audio", command("audio", *_engine_arguments(args))),
            Child(
                "control",
                command(
                    "control",
                    "--profile",
                    args.profile,
                    *(["--keys"] if keys else []),
                    *bank,
                    *doors,
                ),
                inherit_stdin=keys,
            ),
        ],
        start,
    )
    supervisor.run()
    held.close()
    return 0


def _demo(args: argparse.Namespace) -> int:
    from firmware_py.desk.demo import play

    _settle(args)
    if not 2 <= args.seconds <= 600:
        from dsp.errors import UserError

        raise UserError(f"--seconds {args.seconds:g}: from 2 to 600")
    play(
        out=args.out,
        clip=args.clip,
        seconds=args.seconds,
        block_frames=args.block,
        rate_hz=args.rate,
        engine_arguments=_engine_arguments(args),
        bank=args.bank,
    )
    return 0


def _audio(args: argparse.Namespace) -> int:
    from firmware_py.audio import process as audio
    from firmware_py.base.paths import lock

    _settle(args, service=True)
    held = lock("audio", "an audio process")
    status = audio.run(
        client=args.client,
        inputs=args.inputs,
        max_ir_s=args.max_ir_seconds,
        connect=not args.no_connect,
        lock=not args.no_lock,
    )
    held.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # pyo's own way out waits, and may hang when JACK is gone


def _jack(args: argparse.Namespace) -> int:
    from firmware_py.base.paths import lock
    from firmware_py.jack.service import run

    held = lock("jack", "nverb jack")
    run()
    held.close()
    return 0


def _control(args: argparse.Namespace) -> int:
    from firmware_py.base.paths import lock
    from firmware_py.control.process import run

    _settle(args, service=True)
    held = lock("control", "a control process")
    status = run(
        profile=args.profile,
        bank=args.bank,
        keys=args.keys,
        script=args.script,
        midi=_midi_api(args.midi),
        osc=args.osc,
    )
    held.close()
    return status
