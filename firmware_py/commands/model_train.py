"""`nverb model train` and `nverb model import`: how a model file is made."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.errors import UserError

if TYPE_CHECKING:
    from dsp.energymap import EnergyMap
    from firmware_py.commands.parsers import Subparsers


def add_train(parts: Subparsers) -> None:
    train = parts.add_parser(
        "train",
        help="train a decoder and an encoder of rooms (needs the studio packages)",
        description="Trains a decoder and an encoder on rooms that the generator draws and, with "
        "--folder, on your own recordings. At the end it writes NAME/decoder.nvmodel, "
        "NAME/encoder.nvmodel and NAME/report.html; play it with `nverb run --bank "
        "NAME/decoder.nvmodel`. --resume continues an interrupted training.",
    )
    train.add_argument(
        "-o", "--output", type=Path, required=True, metavar="NAME", help="folder for the results"
    )
    train.add_argument(
        "--folder",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="own IRs (WAV, FLAC, AIFF; any rate and channel count) to train on as well; may be "
        "given more than once",
    )
    train.add_argument("--rooms", type=int, help="rooms to draw (default: 48000)")
    train.add_argument("--epochs", type=int, help="passes over all rooms (default: 40)")
    train.add_argument(
        "--hidden", type=int, help="width of the decoder's hidden layers (default: 256)"
    )
    train.add_argument(
        "--components", type=int, help="width of the layer before the last one (default: 72)"
    )
    train.add_argument(
        "--seed", type=int, help="of rooms and weights: the same seed, the same rooms (default: 1)"
    )
    again = train.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="continue an interrupted training in NAME"
    )
    again.add_argument(
        "--force", action="store_true", help="replace the training and the models in NAME"
    )
    train.set_defaults(handler=_train)


def add_import(parts: Subparsers) -> None:
    importer = parts.add_parser(
        "import",
        help="make a model of the NeuralReverberator plug-in's decoder.hdf5 or encoder.hdf5",
        description="Make a model file of the NeuralReverberator plug-in's decoder.hdf5 or "
        "encoder.hdf5. Tries every way to store its weights, measures it against the float network "
        "and takes the smallest within bounds. Needs the studio packages.",
    )
    importer.add_argument("hdf5", type=Path, metavar="FILE.hdf5")
    importer.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="NAME",
        help="a name (in the data folder) or a path",
    )
    importer.add_argument(
        "--db-range",
        type=int,
        choices=(120, 80),
        default=120,
        help="the range of the network's 0 to 1 in dB: 120 as the plug-in plays it, 80 as it was "
        "trained, with decays half as long again (default: %(default)s)",
    )
    importer.add_argument(
        "--no-repair",
        action="store_true",
        help="keep the blip that many of its rooms have 1.5 s after the onset, 2 kHz",
    )
    importer.set_defaults(handler=_import)


def _own_rooms(folders: list[Path]) -> list[EnergyMap]:
    """Prepared rooms of all folders; prints a line for each file with a remark."""
    from bank.prepare import prepare
    from firmware_py.base.progress import Bar

    bar = Bar()
    rooms = []
    for folder in folders:
        made = prepare(
            folder, augment=True, progress=lambda done, of: bar("reading recordings", done, of)
        )
        bar.close()
        for _, remark, _ in made.files:
            if remark:
                print(remark)
        left = len(made.files) - made.taken
        print(
            f"{folder}: {made.taken} of {len(made.files)} files taken ({left} left out), "
            f"{len(made.names)} rooms, {len(made.rooms)} with stretched and shifted ones"
        )
        rooms += made.rooms
    return rooms


def _train(args: argparse.Namespace) -> int:
    from bank.prepare import packed
    from firmware_py.base.progress import Bar
    from models import report, tables, train
    from models.packages import studio_import

    asked = {
        name: getattr(args, name)
        for name in ("rooms", "epochs", "hidden", "components", "seed")
        if getattr(args, name) is not None
    }
    if args.resume and asked:
        raise UserError(
            "--resume uses the numbers that the training started with: leave the other numbers out"
        )
    wanted = train.TrainSettings(**asked)
    wanted.check()
    if not (args.resume or args.force):
        train.require_free(args.output)
    for name in ("tensorflow", "keras", "matplotlib"):
        studio_import(name)
    own = packed(_own_rooms(args.folder)) if args.folder else None
    settings = train.start(args.output, wanted, resume=args.resume)
    bar = Bar()

    def tell(line: str) -> None:
        bar.close()
        print(line, flush=True)

    trained = train.train(
        args.output, settings, own=own, progress=bar, tell=tell, resume=args.resume
    )
    for path in train.save(args.output, trained):
        print(f"{path}: {path.stat().st_size} bytes")
    rooms = report.ROOMS if settings.rooms >= 4000 else 4
    results = report.write(args.output / "report.html", trained, bar, rooms)
    bar.close()
    print("\n".join(tables.as_text(results, None)))
    print(f"{args.output / 'report.html'}: losses, reconstructions, acoustics per octave")
    return 0


def _import(args: argparse.Namespace) -> int:
    from firmware_py.base.paths import model_path
    from models.container import write
    from models.files import refuse_as_root, require_space
    from models.plugin import import_model

    path = model_path(args.output, new=True)
    if path.parent.name == "models":
        refuse_as_root(path.parent)
        path.parent.mkdir(exist_ok=True)
    require_space(path, 4 << 20)
    made = import_model(
        args.hdf5,
        path.stem,
        db_range=float(args.db_range),
        repaired=not args.no_repair,
        report=lambda line: print(line, flush=True),
    )
    write(path, made.file)
    print(f"{path}: {made.file.description.kind}, {made.summary}")
    if made.file.description.kind == "plug-in":
        print(f"to play it: nverb install {shlex.quote(str(path))}")
    return 0
