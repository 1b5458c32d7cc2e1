"""`nverb audio`: the audio process."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from firmware_py.commands.engine_options import add_engine, fill_from_settings

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    audio = subparsers.add_parser("audio", description="The audio process alone: a service.")
    audio.add_argument(
        "--client", default="nverb", help="name among JACK's clients (default: %(default)s)"
    )
    audio.add_argument("--no-connect", action="store_true", help="leave the JACK ports unconnected")
    audio.add_argument("--no-lock", action="store_true", help="do not lock memory")
    add_engine(audio)
    audio.set_defaults(handler=_audio)


def _audio(args: argparse.Namespace) -> int:
    from firmware_py.audio import process as audio
    from firmware_py.base.paths import Lock

    fill_from_settings(args, service=True)
    lock_file = Lock("audio", "an audio process")
    status = audio.run(
        client=args.client,
        inputs=args.inputs,
        outputs=args.outputs,
        max_ir_s=args.max_ir_seconds,
        connect=not args.no_connect,
        lock=not args.no_lock,
    )
    lock_file.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # pyo's own exit waits, and may hang when JACK is gone
