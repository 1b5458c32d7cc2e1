"""`nverb encode`: the knob position whose room is nearest to a recording."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.base.say import say
from firmware_py.commands.parsers import add_json
from firmware_py.commands.reading_options import add_reading_options, reading_of

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers
    from firmware_py.desk.encode import Found


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "encode",
        help="find the knob position of a recorded room, and play both",
        description="Prints the knob position (x, y, z, and colours, which presets hold) whose "
        "room is nearest to a recording, and finds the residual, which a preset keeps as well: "
        "what the room was measured to be beyond that. Then how far off the room is: the distance "
        "of the decay curves and the error of T30 in each octave (ISO 3382-1), recording against "
        "the room as played.",
    )
    parser.add_argument(
        "ir", type=Path, metavar="IR.wav", help="the recording: 1, 2 or 4 channels, any rate"
    )
    parser.add_argument(
        "--play",
        type=Path,
        metavar="IN.wav",
        help="play this sound in the recorded room, then in the found one",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT.wav",
        help="write that to a file (default: play it through JACK)",
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="save the position as a preset; other controls have their defaults",
    )
    parser.add_argument(
        "--knobs-only", action="store_true", help="use x, y and z only: what a hand can set"
    )
    parser.add_argument(
        "--no-residual",
        action="store_true",
        help="the room of the controls alone, without a residual",
    )
    parser.add_argument(
        "--decoder",
        type=Path,
        metavar="FILE",
        help="a trained model (default: the one that comes with nverb)",
    )
    parser.add_argument(
        "--encoder",
        type=Path,
        metavar="FILE",
        help="and its encoder (default: in the folder of the decoder)",
    )
    add_reading_options(parser)
    add_json(parser)
    parser.set_defaults(handler=_encode)


def _encode(args: argparse.Namespace) -> int:
    from dsp.errors import UserError
    from firmware_py.base.progress import Bar
    from firmware_py.desk.encode import (
        check_play,
        check_preset,
        keep,
        locate,
        play,
        side_by_side,
    )
    from firmware_py.state.presets import Presets

    if args.output and not args.play:
        raise UserError("-o goes with --play IN.wav")
    encoder = args.encoder
    if encoder is None and args.decoder is not None:
        encoder = args.decoder.with_name("encoder.nvmodel")
    reading = reading_of(args)
    server = os.environ.get("JACK_DEFAULT_SERVER")
    if args.play:
        check_play(args.play, args.output, server)
    if args.preset:
        check_preset(args.preset)
    bar = Bar()
    shows = sys.stderr.isatty()  # some seconds: a log needs no progress
    try:
        found = locate(
            args.ir,
            decoder_path=args.decoder,
            encoder_path=encoder,
            colours=not args.knobs_only,
            residual=not (args.no_residual or args.knobs_only),
            report=lambda done, of: bar(args.ir.name, done, of) if shows else None,
            reading=reading,
        )
    finally:
        bar.close()
    for note in found.notes:
        say(note)
    if args.play:
        sound, rate_hz = side_by_side(args.play, args.ir, found, args.decoder, reading)
        if args.output:
            keep(args.output, sound, rate_hz)
    if args.preset:
        from device.controls import defaults
        from firmware_py.base.paths import data_dir

        bank = os.fspath(args.decoder.resolve()) if args.decoder else ""
        values = defaults() | found.values
        saved = Presets(data_dir()).save(args.preset, values, bank, found.residual)
    print(json.dumps(found.as_json()) if args.json else _text(found))
    if not args.json and args.preset:
        print(f"preset {saved.name} saved")
    if not args.json and args.output:
        print(f"{args.output}: the sound in the recorded room, then in the found one")
    if args.play and not args.output:
        play(sound, rate_hz, server)
    return 0


def _text(found: Found) -> str:
    from dsp.acoustics import OCTAVES_HZ

    knobs = "  ".join(
        f"{axis} {found.values[axis]:.2f}" + (f" (beyond: {over:+.2f})" if over else "")
        for axis, over in ((axis, found.values[f"beyond_{axis}"]) for axis in "xyz")
    )
    colours = " ".join(
        f"{value:+.2f}" for name, value in found.values.items() if name.startswith("colour")
    )
    width = f"  width {found.values['width']:.2f}" if "width" in found.values else ""
    kept = f"; a residual of {len(found.residual)} characters" if found.residual else ""
    lines = [
        f"{knobs}{width}  colours {colours}{kept}",
        f"decay curves differ by {found.decay_error_db:.2f} dB on average"
        if math.isfinite(found.decay_error_db)
        else "no octave has a decay that can be compared",
    ]
    lines.append(f"{'octave':>8} {'T30':>8} {'found':>8} {'off':>7} {'decay curve':>12}")

    def cell(value: float, pattern: str) -> str:
        return pattern.format(value) if math.isfinite(value) else "-"

    rows = zip(
        OCTAVES_HZ,
        found.t30_s,
        found.found_t30_s,
        found.t30_error_percent,
        found.octave_error_db,
        strict=True,
    )
    for hz, t30_s, found_s, percent, error_db in rows:
        lines.append(
            f"{hz:5.0f} Hz {cell(t30_s, '{:.2f} s'):>8} {cell(found_s, '{:.2f} s'):>8} "
            f"{cell(percent, '{:+.0f} %'):>7} {cell(error_db, '{:.2f} dB'):>12}"
        )
    return "\n".join(lines)
