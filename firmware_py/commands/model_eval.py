"""`nverb model eval`: errors of a model in decay, clarity and level."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.errors import UserError
from firmware_py.base.say import say
from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers
    from models.decoder import Decoder, Encoder
    from models.evaluate import Floats, Original


def add_eval(parts: Subparsers) -> None:
    measure = parts.add_parser(
        "eval",
        help="measure a model: decay, clarity and level errors per octave band",
        description="Encodes rooms that the model has not seen (drawn ones, and the recordings of "
        "a folder), decodes and synthesises them, and measures original and copy after ISO 3382-1 "
        "in the octaves from 63 Hz to 8 kHz: as `nverb encode` keeps them, with all latents, and "
        "with x, y and z alone. Errors in dB are means, errors in percent medians. A last line for "
        "each has medians from 125 Hz on, and what is within the just-noticeable difference: T30 "
        "and EDT 5 %%, C50 1.1 dB. Takes about ten seconds a room.",
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
        help="recordings to measure on as well, the loudest channel of each",
    )
    measure.add_argument(
        "--rooms",
        type=int,
        default=100,
        help="held-out rooms to draw (default: %(default)s); 0, with --folder: none",
    )
    measure.add_argument(
        "--plugin",
        type=Path,
        metavar="FILE",
        help="a decoder to compare with, such as the imported plug-in's",
    )
    measure.add_argument(
        "--listen",
        type=Path,
        metavar="DIR",
        help="measure nothing; write a page with ten rooms of --folder (default: drawn ones) as "
        "recorded, encoded and decoded, and a blind test",
    )
    add_json(measure)
    measure.set_defaults(handler=_eval)


def _eval(args: argparse.Namespace) -> int:
    from firmware_py.base.progress import Bar
    from models import axes, evaluate, generator, tables
    from models.decoder import SHIPPED, Decoder, Encoder

    if not (0 if args.folder else 1) <= args.rooms <= 100_000:
        raise UserError(f"--rooms {args.rooms}: from 1 to 100000, or 0 with --folder")
    folder = args.model or SHIPPED
    path = folder / "decoder.nvmodel" if folder.is_dir() else folder
    decoder, encoder = Decoder.open(path), Encoder.open(path.with_name("encoder.nvmodel"))
    if args.listen:
        return _listen(args, decoder, encoder)
    recordings = _recordings(args.folder) if args.folder else []
    bar = Bar()
    codecs: list[evaluate.Codec] = [
        evaluate.EncodedCodec(decoder, encoder),
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
    results, synthesis = [], None
    if args.rooms:
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
    if args.rooms:
        synthesis = evaluate.synthesis(drawn, lambda done: bar("synthesis alone", done, args.rooms))
    spearman = axes.measure(decoder) if args.rooms else None
    bar.close()
    if args.json:
        print(json.dumps(tables.as_json(results, synthesis, spearman), indent=2))
    else:
        print("\n".join(tables.as_text(results, synthesis, spearman)))
    return 0


def _listen(args: argparse.Namespace, decoder: Decoder, encoder: Encoder) -> int:
    from firmware_py.base.progress import Bar
    from firmware_py.desk.listen import CLIP_S, ROOMS, Recorded, write_page
    from firmware_py.desk.phrase import phrase
    from models import evaluate, generator
    from models.measures import RATE_HZ

    if args.folder:
        rooms = [Recorded(name, samples) for name, samples in _sounds(args.folder)]
        step = max(len(rooms) / ROOMS, 1.0)
        rooms = [rooms[int(n * step)] for n in range(min(len(rooms), ROOMS))]
    else:
        drawn = evaluate.held_out(generator.draw(ROOMS, generator.HELD_OUT_SEED))
        rooms = [Recorded(each.name, each.ir[None]) for each in drawn]
    bar = Bar()
    count = write_page(
        args.listen,
        rooms,
        phrase(RATE_HZ, CLIP_S)[:, 0],
        decoder,
        encoder,
        lambda done: bar("rooms", done, len(rooms)),
    )
    bar.close()
    print(f"{args.listen / 'index.html'}: {count} rooms; open it in a browser")
    return 0


def _sounds(folder: Path, *, any_channels: bool = False) -> list[tuple[str, Floats]]:
    """The recordings of a folder at RATE_HZ; unusable ones are reported. `any_channels`: see
    `read_recording`."""
    from bank.found import recordings_in
    from bank.recording import at_rate
    from models.measures import RATE_HZ

    found = [
        (one.name, at_rate(one.recording.samples, one.recording.rate_hz, RATE_HZ))
        for one in recordings_in(folder, any_channels=any_channels, report=say)
        if one.recording is not None
    ]
    if not found:
        raise UserError(f"{folder}: contains no usable recording")
    return found


def _recordings(folder: Path) -> list[Original]:
    """The loudest channel of each recording in a folder."""
    import numpy as np

    from models.evaluate import original
    from models.measures import RATE_HZ

    return [
        original(name, samples[int(np.argmax(np.square(samples).sum(axis=1)))], RATE_HZ)
        for name, samples in _sounds(folder, any_channels=True)
    ]
