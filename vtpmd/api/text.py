"""Text of others, made safe to print: on a terminal, or as one line of a log."""

import unicodedata

# Control characters, formats (bidirectional overrides, zero-width ones), surrogates, private use,
# unassigned code points, and the two separators that some programs take for the end of a line.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    r"""`text` with everything escaped that a terminal would obey or a reader not see.

    Escapes look like Python's: `\x1b`, `\u202e`; a line feed is `\n`. A backslash stays as it is,
    so the result is for reading, not for decoding.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE:
        return character
    return character.encode("unicode_escape").decode("ascii")
