"""`nverb model eval`: errors of a model in decay, clarity and level."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.errors import InvalidValue, UserError
from firmware_py.base.say import say
from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers
    from models.evaluate import Original


def add_eval(parts: Subparsers) -> None:
    measure = parts.add_parser(
        "eval",
        help="measure a model: decay, clarity and level errors per octave band",
        description="Encodes rooms that the model has not seen (drawn ones, and the recordings of "
        "a folder), decodes and synthesises them, and measures original and copy after ISO 3382-1 "
        "in the octaves from 63 Hz to 8 kHz. Errors in dB are means, errors in percent medians. "
        "Takes about two seconds a room.",
    )
    measure.add_argument(
        "model",
        type=Path,
        nargs="?",
        metavar="MODEL",
        help="folder or decoder file (default: the model that comes with nverb)",
    )
    measure.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="recordings to measure on as well, one channel of each",
    )
    measure.add_argument(
        "--rooms", type=int, default=100, help="held-out rooms to draw (default: %(default)s)"
    )
    measure.add_argument(
        "--plugin",
        type=Path,
        metavar="FILE",
        help="a decoder to compare with, such as the imported plug-in's",
    )
    add_json(measure)
    measure.set_defaults(handler=_eval)


def _eval(args: argparse.Namespace) -> int:
    from firmware_py.base.progress import Bar
    from models import axes, evaluate, generator
    from models.decoder import SHIPPED, Decoder, Encoder

    if not 1 <= args.rooms <= 100_000:
        raise UserError(f"--rooms {args.rooms}: from 1 to 100000")
    folder = args.model or SHIPPED
    path = folder / "decoder.nvmodel" if folder.is_dir() else folder
    decoder, encoder = Decoder.open(path), Encoder.open(path.with_name("encoder.nvmodel"))
    recordings = _recordings(args.folder) if args.folder else []
    bar = Bar()
    codecs: list[evaluate.Codec] = [
        evaluate.OwnCodec(decoder, encoder),
        evaluate.OwnCodec(decoder, encoder, 3),
    ]
    if args.plugin:
        other = Decoder.open(args.plugin)
        codecs.append(
            evaluate.SearchCodec(
                other, progress=lambda done, of: bar(f"decoding {other.name}", done, of)
            )
        )
    drawn = generator.draw(args.rooms, generator.HELD_OUT_SEED)  # not in any training
    results = evaluate.evaluate(
        evaluate.held_out(drawn),
        codecs,
        "held-out rooms",
        lambda done: bar("held-out rooms", done, args.rooms),
    )
    if recordings:
        results += evaluate.evaluate(
            recordings,
            codecs,
            str(args.folder),
            lambda done: bar("recordings", done, len(recordings)),
        )
    synthesis = evaluate.synthesis(drawn, lambda done: bar("synthesis alone", done, args.rooms))
    spearman = axes.measure(decoder)
    bar.close()
    if args.json:
        print(json.dumps(evaluate.as_json(results, synthesis, spearman), indent=2))
    else:
        print("\n".join(evaluate.as_text(results, synthesis, spearman)))
    return 0


def _recordings(folder: Path) -> list[Original]:
    """The first channel of each recording in a folder; unusable ones are reported."""
    from bank.found import recordings_in
    from models.evaluate import original

    found = []

    for one in recordings_in(folder, any_channels=True, report=say):
        if one.recording is None:
            continue
        try:
            found.append(original(one.name, one.recording.samples[0], one.recording.rate_hz))
        except InvalidValue:
            say(f"{one.path}: its first channel is silent")
    if not found:
        raise UserError(f"{folder}: contains no usable recording")
    return found
