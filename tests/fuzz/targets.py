"""What is fuzzed: one function for each way in. Whatever is wrong is an AssertionError."""

import json
from collections.abc import Callable
from typing import Any

from tests.fuzz.octets import Octets
from tests.fuzz.tpm import LOCALITIES, check_command, draw_command, furnished, restored
from tests.swtpm.fake_host import FakeHost
from tests.tpm.harness import HostClock
from vtpmd.swtpm.control import ControlChannel
from vtpmd.swtpm.parser import RequestParser
from vtpmd.swtpm.table import MAX_BUFFER, MIN_BUFFER
from vtpmd.tpm.engine import Engine, StateError

_MAX_COMMANDS = 20


def command(data: bytes) -> None:
    """One command, octet by octet."""
    check_command(restored(*furnished()), data, 0)


def sequence(data: bytes) -> None:
    """Some commands after one another, then the state goes to another engine and is the same."""
    octets, engine = Octets(data), restored(*furnished())
    for _ in range(_MAX_COMMANDS):
        if not octets:
            break
        locality = LOCALITIES[octets.number() % 32 % len(LOCALITIES)]
        check_command(engine, draw_command(octets), locality)
    states = engine.permanent(), engine.volatile()
    other = restored(*states)
    assert (other.permanent(), other.volatile()) == states


def permanent_state(data: bytes) -> None:
    """A damaged permanent state is refused, or is one."""
    document = _damaged(furnished()[0], data)
    try:
        engine = Engine.restore(document, lambda size: bytes(size), HostClock())
    except StateError:
        return
    accepted = engine.permanent()
    again = Engine.restore(accepted, lambda size: bytes(size), HostClock())
    assert again.permanent() == accepted


def volatile_state(data: bytes) -> None:
    """A damaged volatile state is refused, or is one; and if refused, nothing has happened."""
    permanent, volatile = furnished()
    engine = Engine.restore(permanent, lambda size: bytes(size), HostClock())
    try:
        engine.power_on(_damaged(volatile, data))
    except StateError:
        assert not engine.running
        assert engine.permanent() == permanent
        return
    accepted = engine.permanent(), engine.volatile()
    other = restored(*accepted)
    assert (other.permanent(), other.volatile()) == accepted


def control(data: bytes) -> None:
    """A control channel never fails, whatever comes in whatever pieces."""
    octets, channel = Octets(data), _Channel()
    while octets and not channel.closed:
        piece = octets.take(octets.number() + 1)
        answers = channel.receive(piece)
        assert not answers or len(answers) >= 4
        assert channel.host.locality <= channel.host.max_locality
        assert MIN_BUFFER <= channel.host.buffer_size <= MAX_BUFFER


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (command, sequence, permanent_state, volatile_state, control)
}


class _Channel:
    def __init__(self) -> None:
        self.host, self.closed = FakeHost(), False
        self._parser = RequestParser()
        self._channel = ControlChannel(self.host, lambda: self.host.calls.append("attach"))

    def receive(self, data: bytes) -> bytes:
        answers = b""
        for request in self._parser.feed(data):
            if self.closed:
                break
            answers += self._channel.answer(request)
            self.closed |= request.close
        return answers


_VALUES: tuple[Callable[[Octets], Any], ...] = (
    lambda octets: None,
    lambda octets: octets.number(octets.number() % 10),
    lambda octets: -octets.number(4),
    lambda octets: octets.take(octets.number()).hex(),
    lambda octets: octets.take(octets.number()).decode("latin-1"),
    lambda octets: bool(octets.number() & 1),
    lambda octets: [octets.number()],
    lambda octets: {str(octets.number()): octets.number()},
    lambda octets: 1.5,
)


def _damaged(document: bytes, data: bytes) -> bytes:
    """A document with some of its values changed, or cut and changed as octets."""
    octets = Octets(data)
    if octets.number() & 7 == 0:
        raw = bytearray(document)
        while octets:
            raw[octets.number(3) % len(raw)] = octets.number()
        return bytes(raw)
    parsed = json.loads(document)
    while octets and parsed:
        _damage(parsed, octets)
    return json.dumps(parsed).encode()


def _damage(node: Any, octets: Octets) -> None:
    while True:
        keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = octets.choice(keys)
        if isinstance(node[key], dict | list) and octets.number() < 240:
            node = node[key]
            continue
        change = octets.number()
        if change < 16:
            del node[key]
        elif change < 32 and isinstance(node, dict):
            node[str(octets.take(4))] = node[key]
        elif change < 160 and isinstance(node[key], str) and node[key]:
            at = octets.number(2) % len(node[key])
            node[key] = node[key][:at] + f"{octets.number():02x}" + node[key][at + 2 :]
        else:
            node[key] = octets.choice(_VALUES)(octets)
        return
