"""The page of vtpmd.yaml: what the sample says of each setting, and what the schema permits."""

import re
from typing import Any

from vtpmd.api import names
from vtpmd.config.schema import Configuration
from vtpmd.kms.registry import BUILT_IN_TYPES

from . import roff
from .commands import SEE_ALSO
from .roff import bold_text, section

Schema = dict[str, Any]
PROVIDERS = "key_providers"
_SETTING = re.compile(r"(\w+):")


def page(sample: str) -> tuple[str, int, str]:
    """Name, section and content, from the text of the sample configuration."""
    schema = Configuration.model_json_schema()
    about, blocks = _blocks(sample)
    read = "What the daemon reads when it starts, and when it is told to reload."
    parts = [
        section("Synopsis", bold_text(names.DEFAULT_CONFIGURATION)),
        section("Description", roff.paragraphs(about)),
        section("Settings", *(_setting(name, lines, schema) for name, lines in blocks.items())),
        section("Files", roff.tagged([(bold_text(names.DEFAULT_CONFIGURATION), read)])),
        section("See also", roff.references(each for each in SEE_ALSO if each[1] != 5)),
    ]
    return "vtpmd.yaml", 5, roff.page("vtpmd.yaml", 5, "configuration of vtpmd", parts)


def _blocks(sample: str) -> tuple[str, dict[str, list[str]]]:
    """What stands above the first empty line; the lines of each setting with those above it."""
    head, _, rest = sample.partition("\n\n")
    about = head.replace("\n#", "").removeprefix("# vtpmd: configuration.").strip()
    blocks: dict[str, list[str]] = {}
    above: list[str] = []
    current = above
    for line in rest.splitlines():
        if found := _SETTING.match(line):
            current = blocks[found[1]] = [*above, line]
            above = []
        elif not line:
            current = above
        else:
            current.append(line)
    return about, blocks


def _setting(name: str, lines: list[str], schema: Schema) -> str:
    """The prose, the example and the types of a setting; of key providers, type by type."""
    body: list[str] = []
    prose: list[str] = []
    shown: list[str] = []

    def flush() -> None:
        if prose:
            body.append(roff.paragraphs(" ".join(prose)))
            prose.clear()
        if shown:
            body.append(roff.example("\n".join(shown)))
            shown.clear()

    for line in lines:
        if re.match(r"# ?\S", line):
            if shown or line.startswith("# Type "):
                flush()
            prose.append(line.removeprefix("#").strip())
        else:
            shown.append(re.sub(r"^#(?=  )", "", line))
    flush()
    body.append(_types(name, schema))
    return roff.subsection(name, *body)


def _types(name: str, schema: Schema) -> str:
    found = _resolved(schema["properties"][name], schema)
    if name == PROVIDERS:
        return roff.paragraphs("Types that come with vtpmd: " + ", ".join(BUILT_IN_TYPES) + ".")
    if "properties" not in found:
        return roff.tagged([(bold_text(name), roff.text(_kind(found, schema)))])
    return roff.tagged(
        [
            (bold_text(f"{name}.{each}"), roff.text(_kind(part, schema)))
            for each, part in found["properties"].items()
        ]
    )


def _resolved(part: Schema, schema: Schema) -> Schema:
    if "$ref" in part:
        found: Schema = schema["$defs"][part["$ref"].rpartition("/")[2]]
        return found | {key: value for key, value in part.items() if key != "$ref"}
    return part


def _kind(part: Schema, schema: Schema) -> str:
    part = _resolved(part, schema)
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_kind(each, schema) for each in part["anyOf"]))
    if "enum" in part:
        return ", ".join(part["enum"])
    if part.get("type") == "array":
        return f"list: {_kind(part['items'], schema)}"
    if "format" in part:
        return str(part["format"]).replace("path", "absolute path")
    kinds = {"boolean": "true or false", "null": "null", "string": "text"}
    if part.get("type") in ("integer", "number"):
        least, most = part.get("minimum"), part.get("maximum")
        return "number" if least is None or most is None else f"number from {least} to {most}"
    return kinds.get(part.get("type", ""), "text")
