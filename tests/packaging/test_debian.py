"""What the Debian package is made from, and what its scripts do to a host.

`scripts/package test` puts a whole package through a host's life; that takes minutes.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "packaging/debian"
SCRIPTS = [
    *(DEBIAN / f"vtpmd.{name}" for name in ("postinst", "prerm", "postrm")),
    ROOT / "packaging/environment",
]
NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount"]


def listed(name: str) -> list[list[str]]:
    """The words of each line of a file for debhelper."""
    return [line.split() for line in (DEBIAN / f"vtpmd.{name}").read_text().splitlines()]


@pytest.mark.parametrize("name", ["install", "docs", "examples", "manpages"])
def test_what_is_to_be_installed_is_there(name: str) -> None:
    for source, *_ in listed(name):
        assert list(ROOT.glob(source)), source


def test_the_units_have_the_names_that_debhelper_looks_for() -> None:
    rules = (DEBIAN / "rules").read_text()
    copied = re.findall(r"systemd/(\S+)", rules)
    assert copied == ["vtpmd.service", "vtpmd.sysusers", "vtpmd.tmpfiles"]
    assert all((ROOT / "systemd" / name).exists() for name in copied)


def test_every_program_of_the_project_is_linked() -> None:
    rules = (DEBIAN / "rules").read_text()
    (linked,) = re.findall(r"for each in ([\w -]+);", rules)
    project = (ROOT / "pyproject.toml").read_text()
    programs = re.findall(r'^([\w-]+) = "vtpmd\.cli\.', project, re.MULTILINE)
    assert linked.split() == programs


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_are_shell(script: Path) -> None:
    subprocess.run(["sh", "-n", script], check=True, timeout=60)


def carried_out(script: str, argument: str, before: str, after: str) -> str:
    """What a maintainer script prints on a host of its own, where `before` is done first."""
    if subprocess.run([*NAMESPACES, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespaces can be made here")
    own = "for at in /var /run /usr/lib/vtpmd; do [ ! -d $at ] || mount -t tmpfs own $at; done"
    path = DEBIAN / f"vtpmd.{script}"
    steps = f"set -e; {own}; mkdir -p /var/lib /var/log; {before}; sh {path} {argument}; {after}"
    done = subprocess.run(
        [*NAMESPACES, "sh", "-c", steps], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_purge_keeps_keyring_and_states_and_says_so() -> None:
    state = "/var/lib/vtpmd/instances/x/tpm"
    said = carried_out(
        "postrm",
        "purge",
        f"mkdir -p {state} /var/log/vtpmd; touch {state}/nvram /var/lib/vtpmd/keyring",
        f"test -e {state}/nvram; test -e /var/lib/vtpmd/keyring; test ! -e /var/log/vtpmd",
    )
    assert "/var/lib/vtpmd, with the keyring and the states of all TPMs, is kept" in said


@pytest.mark.parametrize("argument", ["remove", "upgrade", "purge"])
def test_nothing_is_said_where_nothing_is_left_or_lost(argument: str) -> None:
    keep = "mkdir -p /var/lib/vtpmd" if argument != "purge" else "true"
    assert carried_out("postrm", argument, keep, "true") == ""


@pytest.mark.parametrize(
    ("status", "said"), [(0, ""), (7, "machines go on with their TPMs")], ids=["idle", "in use"]
)
def test_removal_puts_idle_tpms_away_and_names_those_in_use(status: int, said: str) -> None:
    """vtpmctl is played, whose own tests say what it does, and what cleans up after Python."""
    play = f"mkdir -p /run/vtpmd /var/p; printf '#!/bin/sh\\necho $* >/var/asked; exit {status}\\n'"
    play += " >/var/p/vtpmctl; cp /bin/true /var/p/py3clean; chmod +x /var/p/vtpmctl; "
    play += "export PATH=/var/p:$PATH; "
    play += "python3 -c 'import socket; socket.socket(1).bind(\"/run/vtpmd/admin.sock\")'"
    asked = 'test "$(cat /var/asked)" = "stop --all --temporary"'
    printed = carried_out("prerm", "remove", play, asked)
    assert said in printed if said else "machines" not in printed
