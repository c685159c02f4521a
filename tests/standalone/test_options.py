"""swtpm's words: what they mean, and that every other word is refused by name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vtpmd.standalone import options
from vtpmd.standalone.options import (
    CommandLine,
    Endpoint,
    Flags,
    Inherited,
    Localities,
    Log,
    State,
    Tcp,
    Unix,
)
from vtpmd.standalone.syntax import UsageError

LOCAL = "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port=2321", Endpoint(Tcp(LOCAL, 2321))),
        ("type=tcp,port=2321,bindaddr=::1,disconnect", Endpoint(Tcp("::1", 2321), True)),
        ("port=1,bindaddr=fe80::1,ifname=eth0", Endpoint(Tcp("fe80::1%eth0", 1))),
        ("type=unixio,path=/run/s", Endpoint(Unix(Path("/run/s"), 0o660, None, None))),
        ("path=/s,mode=0600,uid=1,gid=2", Endpoint(Unix(Path("/s"), 0o600, 1, 2))),
        ("fd=7", Endpoint(Inherited(7, connected=True), terminate=True)),
    ],
)
def test_server(text: str, expected: Endpoint) -> None:
    assert options.server(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type=tcp,port=2322", Endpoint(Tcp(LOCAL, 2322))),
        (
            "type=unixio,path=/c,terminate",
            Endpoint(Unix(Path("/c"), 0o660, None, None), False, True),
        ),
        ("type=unixio,fd=3", Endpoint(Inherited(3, connected=False))),
        ("type=unixio,clientfd=4", Endpoint(Inherited(4, connected=True), terminate=True)),
    ],
)
def test_control(text: str, expected: Endpoint) -> None:
    assert options.control(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("not-need-init", Flags("none")),
        ("not-need-init,startup-none", Flags("none")),
        ("startup-none", Flags(None)),
        ("startup-clear", Flags("clear")),
        ("not-need-init,startup-state", Flags("state")),
        ("disable-auto-shutdown", Flags(None, auto_shutdown=False)),
        ("not-need-init=true,startup-clear=1", Flags("clear")),
        ("not-need-init=TRUE,startup-clear=false,disable-auto-shutdown=0", Flags("none")),
    ],
)
def test_flags(text: str, expected: Flags) -> None:
    assert options.flags(text) == expected


def test_locality() -> None:
    assert options.localities("reject-locality-4") == Localities(reject_4=True)
    assert options.localities("allow-set-locality,reject-locality-4") == Localities(True, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file=/l", Log(Path("/l"))),
        ("file=-", Log(None)),
        ("fd=2,level=0", Log(2, "error")),
        ("fd=2,level=4", Log(2, "info")),
        ("file=/l,level=20,prefix=web1: ,truncate", Log(Path("/l"), "debug", "web1: ", True)),
        ("level=20", Log(2, "debug")),
        ("level=1,prefix=vm: ", Log(2, "info", "vm: ")),
    ],
)
def test_log(text: str, expected: Log) -> None:
    assert options.log(text) == expected


def test_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert options.state("dir=/d,mode=0640,lock") == State(Path("/d"), 0o640)
    assert options.state("backend-uri=dir:///d") == State(Path("/d"))
    monkeypatch.chdir(tmp_path)
    assert options.state("dir=d") == State(tmp_path / "d")


def test_other_words() -> None:
    assert options.pid("file=/p") == Path("/p")
    assert options.pid("fd=5") == 5
    assert options.sandboxed("action=kill")
    assert not options.sandboxed("action=none")


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (options.server, "port=2321,colour=red", "--server: there is no 'colour'; known are type,"),
        (options.server, "port=0", "port=0: a number from 1 to 65535 is needed"),
        (options.server, "port=65536", "a number from 1 to 65535 is needed"),
        (options.server, "port=+1", "a number from 1 to 65535 is needed"),
        (options.server, "port", "--server: port needs a value"),
        (options.server, "port=1,disconnect=yes", "disconnect=yes: true or false is needed"),
        (options.server, "port=1,disconnect=", "disconnect=: true or false is needed"),
        (options.server, "type=tcp", "--server: tcp needs port"),
        (options.server, "type=unixio", "unixio needs path"),
        (options.server, "type=udp,port=1", "type=udp: known are tcp, unixio"),
        (options.server, "port=1,path=/s,type=tcp", "tcp does not go with path"),
        (options.server, "path=/s,mode=0888", "an octal mode such as 0600 is needed"),
        (options.server, "path=/s,mode=-1", "an octal mode such as 0600 is needed"),
        (options.server, "path=", "path=: it is empty"),
        (options.server, "port=1,terminate", "there is no 'terminate'"),
        (options.control, "type=tcp,port=1,disconnect", "there is no 'disconnect'"),
        (options.control, "clientfd=3,path=/s", "clientfd does not go with path"),
        (options.state, "mode=0600", "--tpmstate needs dir=DIRECTORY"),
        (options.state, "backend-uri=file:///f", "only dir://DIRECTORY is possible"),
        (options.flags, "bogus", "--flags: there is no 'bogus'"),
        (options.flags, "startup-deactivated", "is for TPM 1.2"),
        (options.flags, "startup-clear,startup-state", "exclude each other"),
        (options.localities, "allow", "--locality: there is no 'allow'"),
        (options.log, "file=/l,fd=2", "--log needs either file=PATH or fd=NUMBER"),
        (options.pid, "file=/p,fd=3", "--pid needs either file=PATH or fd=NUMBER"),
        (options.sandboxed, "action=panic", "action=panic: known are kill, log, none"),
    ],
)
def test_refusals(parse: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_somebody_must_be_able_to_connect_and_to_power_on() -> None:
    state = State(Path("/d"))
    server, control = options.server("port=1"), options.control("type=tcp,port=2")
    with pytest.raises(UsageError, match="--server or --ctrl is needed"):
        CommandLine(state)
    with pytest.raises(UsageError, match="add --flags not-need-init"):
        CommandLine(state, server)
    CommandLine(state, control=control)
    CommandLine(state, server, flags=Flags("none"))
