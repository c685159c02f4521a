"""The same fault gives the same exit status, whichever verb meets it and whoever tells of it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import click
import pytest

from tests.cli.calls import CALLS
from tests.cli.conftest import Ctl
from vtpmd.api import problems
from vtpmd.api.errors import FILE, UNREACHABLE
from vtpmd.api.names import EXIT_FILE, EXIT_STATUSES

FULL = "/dev/full"  # a write to it is refused as on a full disk


def with_file(*words: str) -> list[tuple[str, ...]]:
    return [arguments for arguments in CALLS if set(words) & set(arguments)]


def told(arguments: Sequence[str], output: str) -> str:
    """The text of an error, from JSON if that was asked for."""
    return str(json.loads(output)["detail"]) if "--json" in arguments else output


def read_faults(directory: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be read -> why."""
    return {
        "absent": (directory / "absent", "No such file or directory"),
        "directory": (directory, "Is a directory"),
        "no directory": (directory / "BUNDLE" / "x", "Not a directory"),
        "loop": (directory / "loop", "Too many levels of symbolic links"),
        "memory": (Path("/proc/self/mem"), "Input/output error"),
    }


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("fault", read_faults(Path()))
@pytest.mark.parametrize("arguments", with_file("BUNDLE", "TEMPLATE"), ids=" ".join)
def test_a_file_that_cannot_be_read(
    ctl: Ctl, tmp_path: Path, arguments: tuple[str, ...], fault: str, as_json: tuple[str, ...]
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    path, reason = read_faults(tmp_path)[fault]
    result, asked = ctl([*arguments, *as_json], BUNDLE=path, TEMPLATE=path)
    assert (result.exit_code, asked) == (EXIT_FILE, [])
    text = told(as_json, result.output)
    assert f"{path}: {reason}" in text


def write_faults(directory: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be made -> why."""
    return {
        "exists": (directory / "BUNDLE", "it exists, and is not overwritten"),
        "dangling link": (directory / "loop", "it exists, and is not overwritten"),
        "absent directory": (directory / "absent" / "x", "No such file or directory"),
        "no directory": (directory / "BUNDLE" / "x", "Not a directory"),
        "kernel's": (Path("/proc/absent"), "No such file or directory"),
        "long name": (directory / ("x" * 256), "File name too long"),
    }


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("fault", write_faults(Path()))
@pytest.mark.parametrize("arguments", with_file("OUT"), ids=" ".join)
def test_a_file_that_cannot_be_made(
    ctl: Ctl, tmp_path: Path, arguments: tuple[str, ...], fault: str, as_json: tuple[str, ...]
) -> None:
    (tmp_path / "loop").symlink_to("absent")
    path, reason = write_faults(tmp_path)[fault]
    answers = [] if "exists" in reason else CALLS[arguments][:1]
    result, _ = ctl([*arguments, *as_json], answers, OUT=path)
    assert result.exit_code == EXIT_FILE
    assert f"{path}: {reason}" in told(as_json, result.output)


@pytest.mark.parametrize("where", ["write", "fsync"])
@pytest.mark.parametrize("arguments", with_file("OUT"), ids=" ".join)
def test_a_disk_that_is_full(
    ctl: Ctl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    where: str,
) -> None:
    """The kernel refuses the octets, by /dev/full in the file's place; no file is left."""
    real = getattr(os, where)

    def refused(fd: int, *rest: object) -> object:
        if os.readlink(f"/proc/self/fd/{fd}") != str(tmp_path / "OUT"):
            return real(fd, *rest)
        with open(FULL, "wb", buffering=0) as full:
            return full.write(b"x")

    monkeypatch.setattr(os, where, refused)
    result, _ = ctl(arguments, CALLS[arguments][:1])
    assert result.exit_code == EXIT_FILE
    assert f"{tmp_path / 'OUT'}: No space left on device" in result.stderr
    assert not (tmp_path / "OUT").exists()


@pytest.mark.parametrize("arguments", with_file("FD"), ids=" ".join)
def test_a_passphrase_that_cannot_be_read(
    ctl: Ctl, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        words = [str(directory) if word == "FD" else word for word in arguments]
        result, _ = ctl(words)
    finally:
        os.close(directory)
    assert result.exit_code == EXIT_FILE
    assert f"file descriptor {directory}: Is a directory" in result.stderr


@pytest.mark.parametrize("problem", problems.PROBLEMS.values(), ids=lambda problem: problem.code)
def test_a_problem_of_the_daemon_ends_every_verb_alike(ctl: Ctl, problem: problems.Problem) -> None:
    document = {"code": problem.code, "detail": "it is so"}
    for arguments in CALLS:
        if arguments == ("version",):  # it says that the daemon does not answer
            continue
        result, _ = ctl(arguments, [document], problem.status)
        assert result.exit_code == problem.exit_status, arguments
        assert "vtpmctl: it is so\n" in result.stderr


@pytest.mark.parametrize("arguments", [each for each in CALLS if each[1:2] == ("--all",)])
def test_a_problem_with_one_of_several_ends_as_with_one(
    ctl: Ctl, arguments: tuple[str, ...]
) -> None:
    document = {"code": "not-found", "detail": "it is so"}
    first, *_ = CALLS[arguments]
    if "instances" not in first:
        return
    instances = {"instances": [*first["instances"], *first["instances"]]}
    result, _ = ctl(arguments, [instances, document, document], statuses=[200, 404, 404])
    assert result.exit_code == problems.NOT_FOUND.exit_status
    *told, remedy = result.stderr.splitlines()
    assert [line[:5] for line in told] == ["[1/2]", "[2/2]"]
    assert remedy == "  `vtpmctl list` shows every instance."
    result, asked = ctl(arguments, [instances, b"no JSON"])
    assert (result.exit_code, len(asked)) == (UNREACHABLE.exit_status, 2)
    assert result.stderr.startswith("vtpmctl: No answer from vtpmd")


def test_what_unlock_tells_of_several_has_its_exit_status(ctl: Ctl) -> None:
    for code, status in (("key-unavailable", 8), ("state-refused", 9), ("newer", 1)):
        failed = [{"name": "a", "code": code, "detail": "it is so"}]
        result, _ = ctl(["unlock", "--all"], [{"unlocked": ["b"], "failed": failed}])
        assert (result.exit_code, result.stdout) == (status, "unlocked: b\n")
        assert result.stderr == "a stays locked: it is so\n"


def test_what_upgrade_tells_of_several_has_its_exit_status(ctl: Ctl) -> None:
    done = {"name": "b", "uuid": str(UUID(int=0)), "pid": 7, "pause_ms": 4}
    for code, status in (("unavailable", 10), ("internal", 1)):
        failed = [{"name": "a", "code": code, "detail": "it is so"}]
        result, _ = ctl(["upgrade", "--all"], [{"upgraded": [done], "failed": failed}])
        assert result.stdout == "b is served by process 7, after a pause of 4 ms\n"
        assert result.exit_code == status
        assert result.stderr == "a is served on by its old worker: it is so\n"
    result, _ = ctl(["upgrade", "--all"], [{"upgraded": [], "failed": []}])
    assert (result.exit_code, result.stdout) == (0, "nothing is running\n")
    for wrong in (["upgrade"], ["upgrade", "a", "--all"]):
        result, _ = ctl(wrong, [])
        assert result.exit_code == 2


def test_a_backup_that_cannot_be_decoded_is_not_written(ctl: Ctl, tmp_path: Path) -> None:
    arguments = ["provider", "backup", "p", "OUT", "--passphrase-fd", "FD"]
    result, asked = ctl(arguments, [{"backup": "eA==!", "key_versions": ["1"]}])
    assert (result.exit_code, len(asked)) == (problems.INTERNAL.exit_status, 1)
    assert not (tmp_path / "OUT").exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"vtpmd-template": 2}', b'{"profile": "x"}'])
def test_what_is_no_template_is_a_file_that_is_not_what_it_should_be(
    ctl: Ctl, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "x").write_bytes(content)
    result, _ = ctl(["import", "TEMPLATE", "a"], TEMPLATE=tmp_path / "x")
    assert result.exit_code == EXIT_FILE
    assert "no template that this vtpmctl reads" in result.stderr


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"newer": 1}, "a template has nothing but profile, pcr_banks, data_socket"),
        ({"profile": 1}, "profile: str is expected"),
        ({"pcr_banks": "sha1"}, "pcr_banks: list is expected"),
    ],
)
def test_a_template_is_an_order_and_read_strictly(
    ctl: Ctl, tmp_path: Path, more: dict[str, object], text: str
) -> None:
    (tmp_path / "x").write_text(json.dumps({"vtpmd-template": 1} | more))
    result, _ = ctl(["import", "TEMPLATE", "a"], TEMPLATE=tmp_path / "x")
    assert (result.exit_code, result.stderr) == (EXIT_FILE, f"vtpmctl: {tmp_path / 'x'}: {text}\n")


def test_a_template_may_leave_out_what_is_configured(ctl: Ctl, tmp_path: Path) -> None:
    (tmp_path / "x").write_text('{"vtpmd-template": 1, "profile": "fips-v1"}')
    arguments = ["import", "TEMPLATE", "a"]
    result, asked = ctl(arguments, CALLS["import", "TEMPLATE", "a"], TEMPLATE=tmp_path / "x")
    assert result.exit_code == 0
    assert json.loads(asked[0].body) == {"name": "a", "profile": "fips-v1"}


def test_the_problems_of_clients_are_documented() -> None:
    assert {FILE.exit_status, UNREACHABLE.exit_status} <= set(EXIT_STATUSES)
    assert click.UsageError.exit_code in EXIT_STATUSES
