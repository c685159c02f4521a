"""Pages of programs and verbs, from the commands that also make `--help`."""

import inspect
import re
from collections.abc import Iterator

import click

from vtpmd.api import names

from . import roff
from .roff import bold_text, marked, section

SEE_ALSO = (("vtpmctl", 1), ("vtpmd", 8), ("vtpmd-swtpm", 8), ("vtpmd.yaml", 5))


def vtpmctl(group: click.Group) -> Iterator[tuple[str, int, str]]:
    """Name, section and content of the page of vtpmctl and those of its verbs."""
    context = click.Context(group, info_name="vtpmctl")
    verbs = _commands(group, context)
    listed = [
        (f"{bold_text(f'vtpmctl-{name}')}(1)", marked(_summary(verb))) for name, verb, _ in verbs
    ]
    yield (
        "vtpmctl",
        1,
        roff.page(
            "vtpmctl",
            1,
            _summary(group),
            [
                section("Synopsis", _usage(group, context)),
                section(
                    "Description",
                    roff.paragraphs(
                        "vtpmctl asks the daemon on its admin socket. Who may: root, the daemon's "
                        "user, and the members of `admin.group` in the configuration. Every verb "
                        "has a page of its own and takes `--json`, for programs."
                    ),
                ),
                section("Options", _options(group, context)),
                section("Verbs", roff.tagged(listed)),
                section("Exit status", _exit_statuses(names.EXIT_STATUSES)),
                section(
                    "Environment",
                    roff.tagged(
                        [(bold_text(names.ADMIN_SOCKET_VARIABLE), "The daemon\\(aqs admin socket.")]
                    ),
                ),
                section(
                    "Files",
                    roff.tagged([(bold_text(names.DEFAULT_ADMIN_SOCKET), "The admin socket.")]),
                ),
                section("See also", roff.references(SEE_ALSO[1:])),
            ],
        ),
    )
    for name, verb, inner in verbs:
        yield f"vtpmctl-{name}", 1, _verb(f"vtpmctl-{name}", verb, inner)


def program(group: click.Group, name: str, epilogs: tuple[str, ...] = ()) -> tuple[str, int, str]:
    """The page of a program of section 8 with its commands, and texts like those below `--help`."""
    context = click.Context(group, info_name=name)
    parts = [section("Synopsis", _usage(group, context))] if group.invoke_without_command else []
    parts += [
        section("Description", roff.paragraphs(_help(group))),
        section("Options", _options(group, context)),
    ]
    below = [
        roff.subsection(word, _described(each, at)) for word, each, at in _commands(group, context)
    ]
    parts.append(section("Commands", *below))
    parts += [_epilog(text) for text in epilogs]
    parts.append(section("See also", roff.references(each for each in SEE_ALSO if each[0] != name)))
    return name, 8, roff.page(name, 8, _summary(group), parts)


def _verb(page: str, verb: click.Command, context: click.Context) -> str:
    if isinstance(verb, click.Group):
        commands = _commands(verb, context)
        parts = [
            section("Synopsis", "\n.br\n".join(_usage(each, at) for _, each, at in commands)),
            section("Description", roff.paragraphs(_help(verb))),
            section(
                "Commands",
                *(roff.subsection(name, _described(each, at)) for name, each, at in commands),
            ),
        ]
    else:
        parts = [
            section("Synopsis", _usage(verb, context)),
            section("Description", roff.paragraphs(_help(verb))),
            section("Options", _options(verb, context)),
        ]
    statuses = f".PP\nAs in {bold_text('vtpmctl')}(1)."
    parts += [section("Exit status", statuses), section("See also", roff.references(SEE_ALSO[:2]))]
    return roff.page(page, 1, _summary(verb), parts)


def _commands(
    group: click.Group, context: click.Context
) -> list[tuple[str, click.Command, click.Context]]:
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            found.append((name, command, click.Context(command, context, info_name=name)))
    return found


def _described(command: click.Command, context: click.Context) -> str:
    texts = (_usage(command, context), roff.paragraphs(_help(command)), _options(command, context))
    return "\n".join([*texts, *([_epilog(command.epilog)] if command.epilog else [])])


def _usage(command: click.Command, context: click.Context) -> str:
    pieces = " ".join(roff.text(piece) for piece in command.collect_usage_pieces(context))
    return f".PP\n{bold_text(context.command_path)} {pieces}"


def _options(command: click.Command, context: click.Context) -> str:
    records = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context))
    ]
    return roff.tagged([(bold_text(options), marked(what)) for options, what in records])


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "").partition("\f")[0]


def _summary(command: click.Command) -> str:
    """The first sentence, as it stands behind a name."""
    first = " ".join(re.split(r"\n\s*\n", _help(command).strip())[0].split())
    return first.removesuffix(".").replace("`", "")


def _exit_statuses(statuses: dict[int, str]) -> str:
    return roff.tagged([(bold_text(str(code)), marked(what)) for code, what in statuses.items()])


def _epilog(words: str) -> str:
    """What stands below `--help`: a title, and lines that stay as they are."""
    title, _, lines = words.removeprefix("\b").strip().partition(":\n")
    if not lines:
        return ""
    return section(title, roff.example("\n".join(line[2:] for line in lines.splitlines())))
