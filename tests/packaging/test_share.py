"""Man pages and completions: current, complete, and understood by those who read them."""

import re
import shutil
import subprocess

import click
import pytest

from tests.packaging.share import SHARE, files
from vtpmd.cli.vtpmctl import VERBS, main
from vtpmd.config.schema import Configuration
from vtpmd.kms.registry import BUILT_IN_TYPES

PAGES = sorted(name for name in files() if name.startswith("man/"))


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def shown(*pages: str) -> str:
    """Pages as somebody reads them, in one line."""
    environment = {"PATH": "/usr/bin:/bin", "MANWIDTH": "200", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["man", "--warnings", "-E", "utf8", "-l", *(SHARE / page for page in pages)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return " ".join(re.sub(".\b", "", done.stdout).split())


def test_what_is_shared_is_current() -> None:
    present = {
        path.relative_to(SHARE).as_posix(): path.read_text()
        for path in SHARE.rglob("*")
        if path.is_file()
    }
    assert present == files(), "run python -m tests.packaging.share"


def test_every_program_verb_and_the_configuration_has_a_page() -> None:
    expected = {f"man/man1/vtpmctl-{verb}.1" for verb in VERBS}
    expected |= {"man/man1/vtpmctl.1", "man/man5/vtpmd.yaml.5"}
    expected |= {f"man/man8/{program}.8" for program in ("vtpmd", "vtpmd-swtpm")}
    assert set(PAGES) == expected


@needs("man")
def test_man_shows_every_page_without_a_warning() -> None:
    text = shown(*PAGES)
    for page in PAGES:
        name, section = page.rpartition("/")[2].rsplit(".", 1)
        assert f"{name.upper()}({section}) vtpmd {name.upper()}({section}) NAME {name} - " in text


@needs("mandoc")
def test_mandoc_has_no_complaint() -> None:
    """But for the date: a page is the same whenever it is made."""
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *(SHARE / page for page in PAGES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if "missing date" not in line] == []


@needs("man")
@pytest.mark.parametrize("verb", ["create", "ek", "completion"])
def test_a_page_says_what_help_says(verb: str) -> None:
    text = shown(f"man/man1/vtpmctl-{verb}.1")
    context = click.Context(main, info_name="vtpmctl")
    command = main.get_command(context, verb)
    assert command is not None
    leaves = command.commands.values() if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        inner = click.Context(leaf, context)
        for parameter in leaf.get_params(inner):
            record = parameter.get_help_record(inner)
            for words in record or ():
                plain = " ".join(words.replace("`", "").replace("…", "...").split())
                assert plain in text, words


@needs("man")
def test_the_page_of_the_configuration_names_every_setting_and_its_values() -> None:
    text = shown("man/man5/vtpmd.yaml.5")
    for name, field in Configuration.model_fields.items():
        inner = getattr(field.annotation, "model_fields", {})
        for setting in [f"{name}.{each}" for each in inner] or [name]:
            assert f" {setting} " in text, setting
    for kind in BUILT_IN_TYPES:
        assert f"Type {kind}: " in text
    for said in ("sandbox require, best-effort, off", "sockets.mode octal mode",
                 "metrics.port number from 1 to 65535 or null"):  # fmt: skip
        assert said in text
