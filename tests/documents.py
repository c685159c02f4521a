"""Documents with a part made from the code, between two markers."""


def renewed(document: str, name: str, content: str) -> str:
    """The document with this content between `<!-- name -->` and `<!-- end of name -->`."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, rest = document.split(begin)
    return f"{before}{begin}\n\n{content}\n\n{end}{rest.split(end)[1]}"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = ["".join(f"| {cell} " if cell else "| " for cell in row) for row in (heads, *rows)]
    return "\n".join(f"{line}|" for line in (lines[0], "|---" * len(heads), *lines[1:]))
