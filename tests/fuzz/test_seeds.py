"""The seeds: up to date, and accepted by what they are for, so that a fuzzer begins behind that."""

from collections.abc import Callable

import pytest

from tests.compat.stored import DEK, VM
from tests.fuzz import archives, commands, seeds
from tests.fuzz.evidence import NONCE
from tests.fuzz.octets import Octets
from tests.fuzz.spoken import KMIP_REQUESTS
from tests.fuzz.stored import PASSPHRASE
from tests.fuzz.targets import TARGETS
from tests.fuzz.tpm import furnished, restored
from vtpmd.attest.certificates import parse_certificates
from vtpmd.attest.eventlog.log import parse_log
from vtpmd.attest.trust import AttestationKey
from vtpmd.attest.verdict import Outcome
from vtpmd.attest.verify import Demands, Evidence, verify_quote
from vtpmd.config import loader
from vtpmd.encoding import cbor
from vtpmd.ipc.rules import CODEC
from vtpmd.kms.kmip import ttlv
from vtpmd.kms.kmip.messages import OperationFailedError
from vtpmd.kms.local import keyring
from vtpmd.kms.local.keyring_export import import_
from vtpmd.kms.pkcs11 import messages as children
from vtpmd.operations import bundle
from vtpmd.storage import envelope
from vtpmd.supervisor.metadata import Metadata
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.wire.constants import CC

_FRAME = children.HEADER.size


def unsealed(data: bytes) -> object:
    parsed = envelope.parse(data)
    return parsed.unseal(DEK, VM, parsed.header.kind)


ACCEPTING: dict[str, Callable[[bytes], object]] = {
    "cbor": cbor.decode,
    "envelope": unsealed,
    "bundle": bundle.decode,
    "keyring": keyring.parse,
    "keyring_export": lambda data: import_(data, PASSPHRASE),
    "metadata": Metadata.decode,
    "configuration": lambda data: loader.parse(data, "file"),
    "message": CODEC.decode,
    "child_request": lambda data: children.REQUESTS.decode(data[_FRAME:]),
    "child_reply": lambda data: children.REPLIES.decode(data[_FRAME:]),
    "ttlv": ttlv.decode,
    "event_log": parse_log,
    "certificate": parse_certificates,
}


def test_they_are_what_is_made() -> None:
    # Half a second, which who only collects the tests need not wait for.
    from tests.fuzz.seeds.making import made

    assert set(made()) == set(TARGETS)
    assert {target: seeds.read(target) for target in TARGETS} == made()


@pytest.mark.parametrize("target", ACCEPTING)
def test_they_are_accepted(target: str) -> None:
    for name, octets in seeds.read(target).items():
        if name != "refused":
            ACCEPTING[target](octets)


def test_each_command_is_there_and_valid() -> None:
    found = seeds.read("command")
    assert set(found) == {CC(code).name.lower() for code in COMMANDS}
    for name, octets in found.items():
        response = restored(*furnished()).execute(octets, 0).response
        expected = commands.EXCEPTIONS.get(CC[name.upper()], 0)
        assert int.from_bytes(response[6:10]) == expected, name


def test_each_reply_of_a_key_server_is_read_by_its_request() -> None:
    answered = set()
    for octets in seeds.read("kmip_reply").values():
        for request in KMIP_REQUESTS:
            try:
                request.result(octets)
            except (ttlv.TtlvError, OperationFailedError):
                continue
            answered.add(request.operation)
    assert answered == {request.operation for request in KMIP_REQUESTS}


def test_a_quote_is_genuine_but_for_its_key() -> None:
    source = Octets(seeds.read("quote")["genuine"])
    key, message, signature, pcrs = (source.take(source.number(2)) for _ in range(4))
    given = Evidence(message, signature, pcrs, source.take(1 << 16))
    verdict = verify_quote(given, AttestationKey.read(key), Demands(NONCE))
    failed = [check.name for check in verdict.checks if check.outcome is Outcome.FAILED]
    assert failed == ["ak"]


def test_a_changed_archive_is_repaired() -> None:
    octets = seeds.read("bundle")["certified"]
    changed = octets.replace(b'"web1"', b'"web2"')
    with pytest.raises(bundle.BundleError, match="not what its manifest says"):
        bundle.decode(changed)
    assert bundle.decode(archives.repaired(changed)).metadata.name == "web2"
