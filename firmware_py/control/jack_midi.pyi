"""The C extension, see jack_midi.c: a JACK client with MIDI ports, one in a process."""

def open(name: str, /) -> bool:
    """Open and start the client, with the ports "in" and "out". False if no server answers.

    Raises OSError if libjack cannot be loaded.
    """

def wake_fd() -> int:
    """A descriptor that is readable when messages or changes wait."""

def read() -> bytes:
    """The channel messages since the last call, 4 bytes each: number of the input, status, data.

    The last byte of messages with two bytes is 0.
    """

def send(message: bytes, /) -> bool:
    """Send one message in the next block. False if too many wait."""

def add_input() -> bool:
    """Add the next input port: in-1, in-2, ... False if there are too many."""

def ports(readable: bool, /) -> list[tuple[str, ...]]:
    """All MIDI ports that can be read (else: written): the name and its aliases."""

def connect(place: int, name: str, /) -> bool:
    """Connect an input, or (-1) the output, with this port. True if it is connected then."""

def connected(place: int, name: str, /) -> bool: ...
def disconnect(place: int, name: str, /) -> None: ...
def state() -> tuple[str, bool, bool, int]:
    """The client's name; whether ports or connections changed since `ports`; whether the server is
    lost; the number of messages for which there was no room."""

def parse(stream: bytes, /) -> list[bytes]:
    """The channel messages in a stream of MIDI bytes, 3 bytes each."""
