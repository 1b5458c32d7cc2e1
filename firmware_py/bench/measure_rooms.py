"""Known rooms for `nverb bench measure`: shipped ones, and those of a folder of recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.jack.defaults import RATE_HZ

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

PLACES = ((2.0, 3.0, 2.0), (5.0, 5.0, 5.0), (7.0, 2.0, 8.0), (8.0, 8.0, 3.0))
"""Of the shipped rooms, on the knobs."""
SOUNDS = (".wav", ".flac")
END_SHARE = 10
"""The last tenth of a recording is taken for its noise."""
LEAD_S = 0.01


def rooms(folder: Path | None) -> Iterator[tuple[str, Doubles]]:
    """Names and responses (samples,), of energy 1."""
    import numpy as np

    from dsp.synthesis import Synthesiser
    from firmware_py.rooms.source import find_source
    from models.latent import latent_of

    source = find_source(None)
    for place in PLACES:
        room = source.energy_map(*(latent_of(knob) for knob in place))
        ir = Synthesiser(RATE_HZ, room.grid)(room)[0].astype(np.float64)
        yield f"shipped {place}", ir / np.sqrt(np.sum(ir**2))
    for path in sorted(folder.rglob("*")) if folder else ():
        if path.suffix.lower() in SOUNDS:
            ir = _recorded(path)
            yield path.stem, ir / np.sqrt(np.sum(ir**2))


def _recorded(path: Path) -> Doubles:
    """The first channel of a recording, with the room's own decay instead of the noise that it was
    recorded with: rooms have none that is as long as the file. Raises RecordingError, OSError."""
    import numpy as np

    from bank.recording import at_rate, read_sound
    from dsp.acoustics import onset
    from dsp.own_decay import with_own_decay

    sound = read_sound(path)
    ir = at_rate(sound.samples[:1], sound.rate_hz, RATE_HZ)[0]
    begin = onset(ir)
    lead = min(begin, int(LEAD_S * RATE_HZ))
    whole = ir[begin - lead :].astype(np.float64)
    return with_own_decay(whole, lead, whole[-len(whole) // END_SHARE :], RATE_HZ, 0)
