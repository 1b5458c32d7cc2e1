"""The values of the settings `inputs` and `outputs`.

| value                 | inputs                                       | outputs                   |
|-----------------------|----------------------------------------------|---------------------------|
| auto                  | of a card with one input that one; of two    | stereo; a card with one   |
|                       | the one that has sound feeds both sides      | output plays the mean of  |
|                       | while the other one is silent (dsp/sides.h)  | both sides                |
| stereo                | the first two, each on its side              | the first two             |
| mono                  | the sum of the first two, on both sides      | the mean of both sides,   |
|                       |                                              | on the first two          |
| NUMBER or CLIENT:PORT | this one feeds both sides                    | the mean of both sides    |
| two of these, A,B     | left and right                               | left and right            |

Numbers count the card's ports from 1; a name is JACK's, see `jack_lsp`.
"""

from __future__ import annotations

WORDS = ("auto", "stereo", "mono")


def ports_of(value: str) -> tuple[str, ...]:
    """The ports that a value names, one or two; none for a word. Raises ValueError."""
    if value in WORDS:
        return ()
    ports = tuple(part.strip() for part in value.split(","))
    if len(ports) > 2 or not all(map(_is_port, ports)):
        raise ValueError(value)
    return ports


def _is_port(text: str) -> bool:
    if text.isdecimal() and text.isascii():
        return 1 <= int(text) <= 64
    client, colon, port = text.partition(":")
    return bool(client and colon and port)


def engine_inputs(value: str) -> int:
    """How many inputs the engine has with this value of `inputs`: 1 or 2. Raises ValueError."""
    return 1 if value == "mono" or len(ports_of(value)) == 1 else 2
