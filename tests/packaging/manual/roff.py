"""The few requests of man(7) that a manual page is made of, and text that is none of them."""

import re
from collections.abc import Iterable, Sequence

from vtpmd import __version__

_ESCAPED = str.maketrans(
    {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
)
_UNICODE = {"…": "...", "⇄": "<->", "→": "->"}


def text(words: str) -> str:
    """Text as it is; never a request, whatever it begins with."""
    for special, plain in _UNICODE.items():
        words = words.replace(special, plain)
    escaped = words.translate(_ESCAPED)
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def marked(words: str) -> str:
    """Text in which what is in `backquotes` is bold."""
    parts = re.split(r"`([^`]+)`", " ".join(words.split()))
    bold = [bold_text(part) if odd % 2 else text(part) for odd, part in enumerate(parts)]
    return "".join(bold).strip()


def bold_text(words: str) -> str:
    """Words to type as they are; a line may end between alternatives."""
    return f"\\fB{text(words)}\\fR".replace("|", "|\\:")


def page(name: str, section: int, summary: str, parts: Iterable[str]) -> str:
    """A whole page. It has no date, so that the same sources make the same page."""
    lines = [
        '.\\" Made by python -m tests.packaging.share; change what it is made from.',
        f'.TH {text(name.upper())} {section} "" "vtpmd {__version__}" "vtpmd"',
        *(".nh", ".ad l"),
        ".SH NAME",
        f"{text(name)} \\- {marked(summary)}",
        *parts,
    ]
    return "\n".join(line.rstrip() for line in lines if line) + "\n"


def section(title: str, *parts: str) -> str:
    """A section, nothing if there is nothing in it."""
    return _below(f'.SH "{text(title.upper())}"', parts) if any(parts) else ""


def subsection(title: str, *parts: str) -> str:
    """A part of a section."""
    return _below(f'.SS "{text(title)}"', parts)


def _below(heading: str, parts: Sequence[str]) -> str:
    content = "\n".join(part for part in parts if part)
    return f"{heading}\n{content.removeprefix('.PP').lstrip()}".rstrip()


def paragraphs(words: str) -> str:
    """Paragraphs that an empty line separates; one that begins with `\\b` keeps its lines."""
    made = []
    for paragraph in re.split(r"\n\s*\n", words.strip()):
        if paragraph.startswith("\b"):
            made.append(example(paragraph.removeprefix("\b").strip("\n")))
        else:
            made.append(f".PP\n{marked(paragraph)}")
    return "\n".join(made)


def example(lines: str) -> str:
    """Lines that stay as they are."""
    shown = "\n".join(text(line) or "\\&" for line in lines.splitlines())
    return f".PP\n.RS 4\n.nf\n{shown}\n.fi\n.RE"


def tagged(items: Sequence[tuple[str, str]]) -> str:
    """A list of what is named, already marked up, and what it is."""
    return "\n".join(f".TP\n{name}\n{what or chr(92) + '&'}" for name, what in items)


def references(pages: Iterable[tuple[str, int]]) -> str:
    """Other pages to look into."""
    named = [f"{bold_text(name)}({number})" for name, number in pages]
    return ",\n".join(named)
