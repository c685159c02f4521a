"""`vtpmctl verify`: files in, exit statuses and documents out; no daemon is there."""

import json
import os
import resource
import subprocess
import sys
import threading
import time
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.attest import authority, made
from tests.attest.made import NONCE, Machine
from tests.attest.test_activation import ek, opened
from vtpmd.api.names import EXIT_STATUSES
from vtpmd.attest import policy_text
from vtpmd.attest.verdict import ASSUMPTION, Status
from vtpmd.cli.vtpmctl import main

GOOD = Machine()


def run(*arguments: str | Path) -> Result:
    words = ["--socket", "/nowhere", "verify", *map(str, arguments)]
    result = CliRunner().invoke(main, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with everything that belongs to a genuine quote."""
    message, signature = GOOD.quote()
    contents = {
        "ak": made.sized(GOOD.public),
        "ak.pem": made.pem(GOOD.private),
        "message": message,
        "signature": signature,
        "pcrs": GOOD.bare_values,
        "log": GOOD.log,
        "policy": b"cmdline: /vmlinuz .*\n",
        "broken": b"cmdline: other\n",
        "empty": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


OPTIONS = {"ak": "--ak", "message": "--message", "signature": "--signature", "pcrs": "--pcrs",
           "log": "--log"}  # fmt: skip


def quote(files: Path, *more: str | Path, **instead: str | None) -> Result:
    """`verify quote` with good files, or others instead of some; None for none at all."""
    named = {name: name for name in OPTIONS} | instead
    words = [
        word
        for name, value in named.items()
        if value is not None
        for word in (OPTIONS[name], files / value)
    ]
    return run("quote", *words, "--nonce", NONCE.hex(), *more)


NAMED = ("--ak-name", made.name(GOOD.public).hex())


def test_a_genuine_quote(files: Path) -> None:
    result = quote(files, *NAMED)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "genuine"
    assert lines[-1] == ASSUMPTION
    assert "Secure Boot: on (the variable SecureBoot says so)" in lines
    assert f"Kernel command line: {made.COMMAND_LINE}" in lines


STATUSES: list[tuple[list[str], dict[str, str | None], int]] = [
    ([*NAMED], {"pcrs": None}, 0),
    ([*NAMED], {"log": None}, 0),
    ([*NAMED], {"pcrs": None, "log": None}, 22),
    ([*NAMED, "--policy", "policy"], {}, 0),
    ([*NAMED, "--policy", "empty"], {}, 12),
    ([*NAMED], {"signature": "empty"}, 12),
    ([*NAMED], {"log": "empty"}, 12),
    ([*NAMED], {"log": "pcrs"}, 12),
    ([*NAMED], {"pcrs": "empty"}, 12),
    ([*NAMED], {"pcrs": "ak"}, 12),
    ([*NAMED], {"ak": "log"}, 12),
    ([*NAMED], {"ak": "absent"}, 13),
    ([*NAMED], {"log": "absent"}, 13),
    ([*NAMED], {"message": "."}, 13),
    ([*NAMED, "--policy", "absent"], {}, 13),
    ([*NAMED], {"message": "pcrs"}, 20),
    ([*NAMED], {"message": "empty"}, 20),
    ([*NAMED, "--nonce", "00"], {}, 21),
    ([*NAMED], {"pcrs": "zeros"}, 22),
    ([*NAMED], {"log": "other-log"}, 23),
    ([*NAMED, "--policy", "broken"], {}, 24),
    ([], {}, 25),
    (["--ak-name", "00"], {}, 25),
    ([*NAMED], {"ak": "ak.pem"}, 25),
    (["--ca", "root.pem"], {"ak": "ak.crt"}, 0),
    (["--ca", "other.pem"], {"ak": "ak.crt"}, 26),
    (["--ca", "absent"], {"ak": "ak.crt"}, 13),
    (["--ca", "log"], {"ak": "ak.crt"}, 12),
    (["--ca", "empty"], {"ak": "ak.crt"}, 12),
    ([*NAMED, "--ca", "log"], {}, 12),
    ([], {"ak": "ak.crt"}, 25),
]


@pytest.mark.parametrize(("more", "instead", "status"), STATUSES)
def test_exit_statuses(
    files: Path, more: list[str], instead: dict[str, str | None], status: int
) -> None:
    (files / "zeros").write_bytes(bytes(len(GOOD.bare_values)))
    (files / "other-log").write_bytes(made.log(made.boot(kernel=b"other")))
    root = authority.root()
    (files / "root.pem").write_bytes(root.pem)
    (files / "other.pem").write_bytes(authority.root("other").pem)
    certificate = authority.leaf(root, GOOD.private.public_key(), authority.AK_PURPOSE)
    (files / "ak.crt").write_bytes(certificate)
    paths = {"--policy", "--ca"}
    words = [
        str(files / word) if at and more[at - 1] in paths else word for at, word in enumerate(more)
    ]
    for as_json in ([], ["--json"]):
        result = quote(files, *words, *as_json, **instead)
        assert result.exit_code == status, result.output
        if as_json:
            document = json.loads(result.stdout)
            assert ("verdict" in document) or status in (12, 13)
            assert document.get("status", status) == status
        else:
            assert result.output.startswith(("genuine", "refused: ", "vtpmctl: "))


def test_json_tells_all_checks(files: Path) -> None:
    result = quote(files, "--policy", str(files / "broken"), "--json", "--nonce", "00")
    document = json.loads(result.stdout)
    assert result.exit_code == document["status"] == Status.NONCE
    assert (document["verdict"], document["assumption"]) == ("refused", ASSUMPTION)
    assert {
        check["check"]: (check["outcome"], check["status"]) for check in document["checks"]
    } == {
        "signature": ("passed", 0),
        "message": ("passed", 0),
        "nonce": ("failed", 21),
        "pcr-digest": ("passed", 0),
        "log": ("passed", 0),
        "policy": ("failed", 24),
        "ak": ("failed", 25),
    }
    assert [rule["kept"] for rule in document["rules"]] == [False]
    assert (document["quote"], document["pcrs"], document["boot"]) == (None, None, None)


def test_json_of_a_genuine_quote(files: Path) -> None:
    document = json.loads(quote(files, *NAMED, "--json").stdout)
    assert document["verdict"] == "genuine"
    assert document["reason"] is None
    assert document["quote"]["nonce"] == NONCE.hex()
    assert document["pcrs"]["sha256"]["7"] == GOOD.values[made.SHA256][7].hex()
    assert document["boot"]["cmdlines"] == [made.COMMAND_LINE]


@pytest.mark.parametrize("missing", ["ak", "message", "signature"])
def test_what_a_quote_needs(files: Path, missing: str) -> None:
    result = quote(files, **{missing: None})
    assert result.exit_code == 2
    assert f"a quote needs --{missing}" in result.output


@pytest.mark.parametrize(
    "words",
    [("--nonce", "0"), ("--nonce", ""), ("--nonce", "xy"), ("--ak-name", "x"),
     ("--unlogged", "24"), ("--unlogged", "x"), ("--unlogged", ""), ("--unlogged", "-1")],
)  # fmt: skip
def test_options_that_are_not_understood(files: Path, words: tuple[str, str]) -> None:
    assert quote(files, *NAMED, *words).exit_code == 2


def test_options_are_passed_on(files: Path) -> None:
    values = {made.SHA256: GOOD.values[made.SHA256] | {11: b"\x5e" * 32}}
    message = made.quote(values)
    (files / "message").write_bytes(message)
    (files / "signature").write_bytes(made.signature(GOOD.private, message, made.SHA1))
    (files / "pcrs").write_bytes(made.selected(values))
    assert quote(files, *NAMED).exit_code == 20
    message = made.quote(values, alg=made.SHA1)
    (files / "message").write_bytes(message)
    (files / "signature").write_bytes(made.signature(GOOD.private, message, made.SHA1))
    assert quote(files, *NAMED, "--allow-sha1").exit_code == 23
    assert quote(files, *NAMED, "--allow-sha1", "--unlogged", "11,12").exit_code == 0


def test_a_log(files: Path) -> None:
    result = run("log", files / "log")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "   3  PCR 7    EV_EFI_VARIABLE_DRIVER_CONFIG: SecureBoot (1 octets)" in lines
    assert "      covers its data" in lines
    assert f"  7 : 0x{GOOD.values[made.SHA256][7].hex().upper()}" in lines
    assert lines[-1].startswith("Nothing proves this log")
    document = json.loads(run("log", files / "log", "--json").stdout)
    assert document["banks"] == ["sha256"]
    assert document["events"][3]["digest"] == "covers its data"
    assert document["boot"]["secure_boot"]["enabled"] is True
    assert run("log", files / "pcrs").exit_code == 12
    assert run("log", files / "absent").exit_code == 13
    (files / "old").write_bytes(made.old_log(made.boot()))
    assert json.loads(run("log", files / "old", "--json").stdout)["banks"] == ["sha1"]


@pytest.mark.parametrize("size", [0xFFFFFFFF, 1 << 31])
def test_logs_with_impossible_sizes(files: Path, size: int) -> None:
    (files / "log").write_bytes(made.first((made.SHA256,)) + bytes(8) + size.to_bytes(4, "little"))
    assert run("log", files / "log").exit_code == 12
    (files / "log").write_bytes(bytes(28) + size.to_bytes(4, "little"))
    assert run("log", files / "log").exit_code == 12


def test_files_without_an_end(files: Path) -> None:
    for command in (("log", "/dev/zero"), ("log", "/dev/urandom")):
        assert run(*command).exit_code == 12
    for name in ("ak", "message", "signature", "pcrs", "log"):
        assert quote(Path("/"), *NAMED, **{
            each: "dev/zero" if each == name else str(files / each)[1:]
            for each in ("ak", "message", "signature", "pcrs", "log")
        }).exit_code == 12  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        "[" * (policy_text.MAX_SIZE - 1),
        "cmdline: " + "{x: " * 30_000,
        "[" + "a," * (policy_text.MAX_SIZE // 2 - 1) + "]",
        f'cmdline: "{"a|" * (policy_text.MAX_SIZE // 2 - 6)}"',
        "boot_apps:\n" + "".join(f'- "{number:064x}"\n' for number in range(1890)),
    ],
    ids=["deep", "deep mappings", "many", "pattern", "applications"],
)
def test_no_policy_takes_long(files: Path, content: str) -> None:
    policy = files / "long"
    policy.write_text(content)
    assert policy.stat().st_size <= policy_text.MAX_SIZE
    began = time.process_time()
    assert quote(files, *NAMED, "--policy", str(policy)).exit_code in (12, 24)
    assert time.process_time() - began < 1
    policy.write_text(content.ljust(policy_text.MAX_SIZE + 1))
    assert quote(files, *NAMED, "--policy", str(policy)).exit_code == 12


def test_standard_input_is_read_once(files: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "vtpmd.cli.vtpmctl", "verify", "quote"]
    more: list[str | Path] = ["--message", files / "message", "--signature", files / "signature"]
    done = subprocess.run(
        [*command, "--log", "-", *more, "--ak", files / "ak.pem", "--nonce", "00", "--pcrs", "-"],
        capture_output=True,
        input=b"",
    )
    assert b"Traceback" not in done.stderr
    assert (done.returncode, b"read already" in done.stderr) == (13, True), done.stderr


def test_learning(files: Path) -> None:
    learn = ("learn", "--log", files / "log")
    assert run(*learn, "-o", files / "p1").exit_code == 0
    assert (files / "p1").read_text().startswith("# Learnt from an event log alone")
    quoted = (
        *learn, "--ak", files / "ak", "--message", files / "message",
        "--signature", files / "signature", "--nonce", NONCE.hex(), "--pcrs", files / "pcrs",
    )  # fmt: skip
    assert run(*quoted, *NAMED, "--indices", "7", "--out", files / "p2").exit_code == 0
    assert (files / "p2").read_text().startswith("# Learnt from an event log that a quote proves")
    assert run(*quoted, *NAMED, "-o", files / "p2").exit_code == 13  # not overwritten
    for more, status in (((), 25), ((*NAMED, "--nonce", "00"), 21)):
        assert run(*quoted, *more, "-o", files / "p3").exit_code == status
        assert not (files / "p3").exists()
    for policy in ("p1", "p2"):
        assert quote(files, *NAMED, "--policy", str(files / policy)).exit_code == 0
    os.mkfifo(files / "once")
    writer = threading.Thread(target=(files / "once").write_bytes, args=(GOOD.log,))
    writer.start()
    once = [files / "once" if word == files / "log" else word for word in quoted]
    assert run(*once, *NAMED, "-o", "-").exit_code == 0
    writer.join()
    printed = run(*learn, "--ca", files / "absent")
    assert printed.stdout == (files / "p1").read_text()
    assert json.loads(run(*learn, "--json").stdout)["cmdline"] == "/vmlinuz root=/dev/vda ro"
    assert run("learn").exit_code == 2
    assert run(*learn, "--nonce", "00").exit_code == 2
    assert run("learn", "--log", files / "pcrs").exit_code == 12


@pytest.fixture
def activating(files: Path) -> tuple[str | Path, ...]:
    """`verify challenge` with good files; the directory follows."""
    (files / "ca").write_bytes(authority.root().pem)
    (files / "ek").write_bytes(authority.leaf(authority.root(), ek("rsa").public_key()))
    return (
        "challenge",
        "--ek-cert",
        files / "ek",
        "--ca",
        files / "ca",
        "--ak",
        files / "ak",
        "-o",
    )


def test_a_challenge_that_is_written_in_part_leaves_nothing(
    files: Path, activating: tuple[str | Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credential fits on the disk, what is to be compared with its answer does not."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a part of that would be there to stay
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
    try:
        result = run(*activating, files / "d")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (result.exit_code, "challenge.json" in result.output) == (13, True)
    assert list((files / "d").iterdir()) == []
    assert run(*activating, files / "d").exit_code == 0


def test_challenge_and_response(files: Path, activating: tuple[str | Path, ...]) -> None:
    directory = files / "d"
    made_here = run(*activating, directory)
    assert made_here.exit_code == 0, made_here.output
    assert str(directory / "credential.blob") in made_here.stdout
    assert {path.name for path in directory.iterdir()} == {"credential.blob", "challenge.json"}
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert run(*activating, directory).exit_code == 13  # nothing is overwritten
    secret = opened("rsa", (directory / "credential.blob").read_bytes(), made.name(GOOD.public))
    (files / "answer").write_bytes(secret)
    (files / "wrong").write_bytes(secret[::-1])
    assert run("response", directory, files / "wrong").exit_code == 25
    assert not (directory / "ak.json").exists()
    assert run("response", directory, files / "absent").exit_code == 13
    assert run("response", files, files / "answer").exit_code == 13
    right = run("response", directory, files / "answer")
    assert right.exit_code == 0
    assert ASSUMPTION in right.stdout
    assert quote(files, ak="d/ak.json").exit_code == 0
    assert run("response", directory, files / "answer").exit_code == 13


def test_challenge_and_response_as_json(files: Path, activating: tuple[str | Path, ...]) -> None:
    directory = files / "d"
    document = json.loads(run(*activating, directory, "--json").stdout)
    assert document["ak_name"] == made.name(GOOD.public).hex()
    credential = Path(document["credential"]).read_bytes()
    (files / "answer").write_bytes(opened("rsa", credential, made.name(GOOD.public)))
    proven = json.loads(run("response", directory, files / "answer", "--json").stdout)
    assert (proven["file"], proven["assumption"]) == (str(directory / "ak.json"), ASSUMPTION)
    (directory / "ak.json").unlink()
    (directory / "challenge.json").write_text("{}")
    refused = run("response", directory, files / "answer", "--json")
    assert (refused.exit_code, json.loads(refused.stdout)["code"]) == (12, "malformed")


def test_challenges_that_are_refused(files: Path, activating: tuple[str | Path, ...]) -> None:
    (files / "other").write_bytes(authority.root("other").pem)
    (files / "decrypts").write_bytes(made.public(made.key(), made.AK | made.DECRYPT))
    for option, file, status in (
        ("--ca", "other", 26),
        ("--ca", "empty", 12),
        ("--ak", "decrypts", 25),
        ("--ak", "ak.pem", 12),
        ("--ek-cert", "ak", 12),
        ("--ek-cert", "absent", 13),
    ):
        result = run(*activating, files / "d", option, files / file)
        assert result.exit_code == status, result.output
        assert not (files / "d").exists()
    assert run(*activating, files / "absent/d").exit_code == 13


HOSTILE = "\x1b[2J\x07\u202e\u2028x"
FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def test_no_text_of_evidence_reaches_the_terminal_as_it_is(files: Path) -> None:
    """In names of variables, texts, and command lines, of a quote that is genuine, too."""
    line = f"/vmlinuz {HOSTILE}\n"
    events = [
        *made.boot(line=line),
        made.Event(1, made.DRIVER_CONFIG, made.variable(made.GLOBAL, HOSTILE, b"")),
        made.Event(9, made.IPL, HOSTILE.encode()),
        made.Event(12, made.IPL, f"{HOSTILE}\0".encode("utf-16-le")),
    ]
    machine = Machine(events)
    message, signature = machine.quote()
    for name, content in (("message", message), ("signature", signature), ("log", machine.log),
                          ("pcrs", machine.bare_values)):  # fmt: skip
        (files / name).write_bytes(content)
    (files / "broken").write_text("cmdline: x\nfirmware_version: [x]\n")
    results = [
        run("log", files / "log"),
        quote(files, *NAMED),
        quote(files, *NAMED, "--policy", str(files / "broken")),
        run("learn", "--log", files / "log"),
    ]
    assert [result.exit_code for result in results] == [0, 0, 24, 0]
    for result in results:
        shown = result.output.replace("\n", "")
        assert {unicodedata.category(each) for each in shown} & FORBIDDEN == set()
    for words in (("log", files / "log", "--json"), ("learn", "--log", files / "log", "--json")):
        document = run(*words)
        assert document.output.isascii()
        assert json.loads(document.output)


def test_the_statuses_are_documented() -> None:
    assert {int(status) for status in Status} <= set(EXIT_STATUSES)


def alone(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """vtpmctl in a process whose network has no interface that is up, if one may be made."""
    command = [sys.executable, "-m", "vtpmd.cli.vtpmctl", "verify", *map(str, arguments)]
    isolated = ["unshare", "--user", "--map-root-user", "--net", *command]
    done = subprocess.run(isolated, capture_output=True, text=True, timeout=60, check=False)
    if "unshare failed" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("no network namespace can be made here")
    return done


@pytest.mark.served
def test_no_network_is_needed(files: Path) -> None:
    done = alone(
        "quote", "--ak", files / "ak", *NAMED, "--message", files / "message",
        "--signature", files / "signature", "--nonce", NONCE.hex(), "--log", files / "log",
        "--policy", files / "policy",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("genuine\n")


@pytest.mark.served
def test_what_is_not_needed_is_not_imported(files: Path) -> None:
    """The daemon's libraries, and the certificates' where there are none."""
    words = ["verify", "log", str(files / "log")]
    program = (
        "import sys; from vtpmd.cli.vtpmctl import main; main(sys.argv[1:], standalone_mode=False);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    unwanted = ("pydantic", "trio", "yaml", "structlog", "cryptography.x509", "vtpmd.tpm.engine",
                "vtpmd.tpm.core", "vtpmd.supervisor")  # fmt: skip
    assert loaded & set(unwanted) == set()
    assert "vtpmd.attest.eventlog.log" in loaded
