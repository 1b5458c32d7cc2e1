"""Names that people give to presets, banks and boards: how they are compared, and how any text from
outside is shown. All packages may import this module.
"""

from __future__ import annotations


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC): an `é` of a Mac's file name is that of a key."""
    import unicodedata  # not in the audio process, which imports this module

    return unicodedata.normalize("NFC", name)


def name_key(name: str) -> str:
    """Equal for names that a player takes for the same: composed, without case, single spaces."""
    return composed(composed(" ".join(name.split())).casefold())


def shown(text: str) -> str:
    r"""The text for a terminal, a log or a panel, in one line.

    Control characters could move the cursor or forge a line; each becomes an escape such as \x1b.
    So do bytes of a file name that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def counted(number: int, what: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def free_name(written: str, taken: set[str], longest: int) -> str:
    """A name like `written`, of at most `longest` characters, whose key is not taken: NAME, else
    "NAME 2", "NAME 3" ..."""
    name = shown(composed(" ".join(written.split())))[:longest].strip() or "unnamed"
    free, number = name, 1
    while name_key(free) in taken:
        number += 1
        ending = f" {number}"
        free = name[: longest - len(ending)].rstrip() + ending
    return free


def _escape(character: str) -> str:
    code = ord(character)
    if character.isspace() and code >= 0xA0 and code not in (0x2028, 0x2029):
        return " "  # of another width
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode: a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
