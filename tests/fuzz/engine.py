"""The TPM itself: commands, sequences of them, and the states it goes on from."""

from collections.abc import Callable, Iterable
from typing import Any

from tests.fuzz.octets import Octets
from tests.fuzz.tpm import LOCALITIES, check_command, furnished, restored
from tests.tpm import states
from tests.tpm.harness import HostClock
from vtpmd.tpm.engine import Engine, StateError

_MAX_COMMANDS = 20


def command(data: bytes) -> None:
    """One command, octet by octet."""
    check_command(restored(*furnished()), data, 0)


def sequence(data: bytes) -> None:
    """Some commands after one another, then the state goes to another engine and is the same."""
    engine = restored(*furnished())
    for number, octets in read_commands(data):
        locality = LOCALITIES[number % 32 % len(LOCALITIES)]
        check_command(engine, octets, locality)
    states = engine.permanent(), engine.volatile()
    other = restored(*states)
    assert (other.permanent(), other.volatile()) == states


def framed_commands(commands: Iterable[tuple[int, bytes]]) -> bytes:
    """Commands as an input of `sequence`: the number of a locality, a size, the command."""
    return b"".join(bytes((at,)) + len(octets).to_bytes(2) + octets for at, octets in commands)


def read_commands(data: bytes) -> list[tuple[int, bytes]]:
    """The commands of an input of `sequence`, each behind the number of its locality."""
    octets = Octets(data)
    found: list[tuple[int, bytes]] = []
    while octets and len(found) < _MAX_COMMANDS:
        found.append((octets.number(), octets.take(octets.number(2))))
    return found


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


TARGETS: tuple[Callable[[bytes], None], ...] = (
    *(command, sequence, permanent_state, volatile_state),
)


_VALUES: tuple[Callable[[Octets], Any], ...] = (
    lambda octets: None,
    lambda octets: octets.number(octets.number() % 10),
    lambda octets: -octets.number(4),
    lambda octets: octets.take(octets.number()),
    lambda octets: octets.take(octets.number()).decode("latin-1"),
    lambda octets: bool(octets.number() & 1),
    lambda octets: [octets.number()],
    lambda octets: {octets.number(): octets.number()},
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
    parts = states.unpack(document)
    while octets and parts:
        _damage(parts, octets)
    return states.pack(parts)


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
            node[octets.number(4)] = node[key]
        elif change < 160 and isinstance(node[key], bytes) and node[key]:
            at = octets.number(2) % len(node[key])
            node[key] = node[key][:at] + octets.take(1) + node[key][at + 1 :]
        else:
            node[key] = octets.choice(_VALUES)(octets)
        return
