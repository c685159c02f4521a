"""How a socket's path is written for QEMU, a shell and libvirt."""

from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from vtpmd.api import problems
from vtpmd.api.codec import decode
from vtpmd.api.schema import InstanceInfo
from vtpmd.cli.verbs import qemu_args
from vtpmd.cli.verbs.libvirt_xml import element
from vtpmd.cli.vtpmctl import main
from vtpmd.client import Client

PATHS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1)


@given(PATHS)
def test_commas_are_doubled_and_nothing_else_changes(path: str) -> None:
    chardev = qemu_args.arguments(path, "crb")[1]
    assert chardev.replace(",,", "\0").split(",")[2].replace("\0", ",") == f"path={path}"


@given(PATHS)
def test_libvirt_reads_the_path_back(path: str) -> None:
    source = ElementTree.fromstring(element(path, "crb")).find("backend/source")
    assert source is not None
    assert source.get("path") == path


@pytest.mark.parametrize(
    ("path", "status"),
    [("/run/a,b", 0), ("/run/a b", 2), ("/run/a*", 2), ("/run/[a]", 2), ("/run/a\\b", 2)],
)
def test_a_path_a_shell_would_split_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, path: str, status: int
) -> None:
    info = decode(InstanceInfo, {"control_socket": path})
    monkeypatch.setattr(Client, "info", lambda *_: info)
    result = CliRunner().invoke(main, ["qemu-args", "web1"])
    assert result.exit_code == status
    assert ("--json" in result.output) is (status != 0)
    assert CliRunner().invoke(main, ["qemu-args", "web1", "--json"]).exit_code == 0


def test_a_path_that_cannot_be_printed_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    info = decode(InstanceInfo, {"control_socket": "/run/a\x1bc"})
    monkeypatch.setattr(Client, "info", lambda *_: info)
    for verb in ("qemu-args", "libvirt-xml"):
        result = CliRunner().invoke(main, [verb, "web1"])
        assert (result.exit_code, result.stdout) == (problems.INVALID.exit_status, "")
        assert "--json" in result.stderr
