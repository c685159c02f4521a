"""Whose keys are certified, whatever a worker says, and in which order things are written."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tests.pki.foreign import Authority as ForeignAuthority
from tests.pki.foreign import der, pem, public
from tests.supervisor.stage import FakeProvider
from vtpmd.config.schema import Identity as Settings
from vtpmd.ipc.identity import Identity, Reported
from vtpmd.operations.endorsement import agrees
from vtpmd.pki.certificates import Certificates, request_pem
from vtpmd.pki.entries import Entry, Given, Known, Revoked
from vtpmd.pki.errors import ConflictError, DamagedError, RefusedError
from vtpmd.storage.errors import StorageError
from vtpmd.supervisor.authority import Authority
from vtpmd.supervisor.identities import Identities
from vtpmd.supervisor.keys import Keys
from vtpmd.supervisor.told import known_as
from vtpmd.telemetry.audit import Audit

ONE, OTHER = UUID(int=1), UUID(int=2)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
REPORTED = Reported("5654504D", "vtpmd", "00010000", "2.0", 0, 185)
TOLD = Identity(
    bytes(32),
    REPORTED,
    {"ecc-p256": public(P256.public_key()), "ecc-p384": public(P384.public_key())},
    {"ecc-p256": b"\0\x0b" + bytes(32)},
)


Made = Callable[..., Identities]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


@pytest.fixture
def made(state: int, provider: FakeProvider) -> Iterator[Made]:
    with contextlib.ExitStack() as stack:

        def make(**settings: Any) -> Identities:
            authority = Authority(state, Keys({"main": provider}, "main"), Audit())
            identities = Identities(Settings(**settings), state, authority, Audit())
            return stack.enter_context(contextlib.closing(identities))

        yield make


async def test_a_new_tpm_is_noted_and_certified(made: Made) -> None:
    identities = made()
    certificates = await identities.welcome(ONE, TOLD, "main")
    assert set(certificates.leaves) == {"ecc-p256", "ecc-p384"}
    ledger = await made().ledger()
    known = ledger.find(ONE, TOLD.seed)
    assert known is not None
    assert (known.keys, known.names, known.how) == (TOLD.keys, TOLD.names, "made")
    assert {each.digest for each in ledger.given(ONE)} == {
        hashlib.sha256(der(leaf)).digest() for leaf in certificates.leaves.values()
    }


async def test_a_key_of_another_is_never_certified(made: Made) -> None:
    identities = made()
    await identities.welcome(ONE, TOLD, "main")
    for told in (TOLD, replace(TOLD, seed=b"\1" * 32)):
        with pytest.raises(ConflictError):
            await identities.welcome(OTHER, told, "main")
        with pytest.raises(ConflictError):
            await identities.trust(OTHER, told)
    ledger = await identities.ledger()
    assert (len(ledger.given()), ledger.known(OTHER)) == (2, [])


@pytest.mark.parametrize(
    "keys",
    [
        {"ecc-p256": b""},
        {"ecc-p256": os.urandom(91)},
        {"ecc-p256": public(P384.public_key())},
        {"rsa-2048": public(rsa.generate_private_key(65537, 3072).public_key())},
        {"rsa-4096": public(P256.public_key())},
        {"ecc-p256": public(ec.generate_private_key(ec.SECP256K1()).public_key())},
    ],
)
async def test_what_is_no_ek_is_not_certified(made: Made, keys: dict[str, bytes]) -> None:
    identities = made()
    with pytest.raises(DamagedError):
        await identities.welcome(ONE, replace(TOLD, keys=keys), "main")
    assert (await identities.ledger()).entries(ONE) == []


async def test_a_certificate_that_cannot_be_noted_is_not_given(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities = made()
    await identities.ledger()

    def full(fd: int, data: bytes, offset: int = 0) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("vtpmd.pki.ledger.write_all", full)
        with pytest.raises(StorageError):
            await identities.welcome(ONE, TOLD, "main")
    assert (await made().ledger()).entries(ONE) == []


async def test_without_the_own_authority_it_is_only_noted(made: Made, tmp_path: Path) -> None:
    identities = made(ca="external", keys=["ecc-p256"])
    assert await identities.welcome(ONE, TOLD, "main") == Certificates()
    assert not (tmp_path / "ca" / "authority").exists()
    assert (await identities.ledger()).find(ONE, TOLD.seed) is not None
    assert made(ca="none").kinds == ()


async def test_one_authority_is_made_however_many_want_it(made: Made) -> None:
    identities = made()
    chains = []

    async def welcome(number: int) -> None:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        told = replace(TOLD, keys={"ecc-p256": public(key)})
        found = await identities.welcome(UUID(int=number), told, "main")
        chains.append(tuple(found.chain))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(welcome, number)
    assert len(set(chains)) == 1
    assert len((await made().ledger()).given()) == 10


def test_keys_agree_as_far_as_they_are_known() -> None:
    known = known_as(ONE, TOLD, "made")
    other = public(ec.generate_private_key(ec.SECP256R1()).public_key())
    assert agrees(TOLD, None)
    assert agrees(TOLD, known)
    assert agrees(replace(TOLD, keys={}), known)
    assert agrees(replace(TOLD, keys={**TOLD.keys, "rsa-2048": b"more"}), known)
    assert not agrees(replace(TOLD, keys={**TOLD.keys, "ecc-p256": other}), known)


def test_only_a_request_of_the_known_key_is_passed_on() -> None:
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(P256, SHA256())
    )
    octets = request.public_bytes(Encoding.DER)
    text = request_pem(octets, TOLD.keys["ecc-p256"])
    assert text == request.public_bytes(Encoding.PEM).decode()
    forged = octets[:-1] + bytes((octets[-1] ^ 1,))
    for wrong, key in (
        (octets, TOLD.keys["ecc-p384"]),
        (forged, TOLD.keys["ecc-p256"]),
        (b"", TOLD.keys["ecc-p256"]),
    ):
        with pytest.raises(DamagedError):
            request_pem(wrong, key)


async def test_a_bundle_is_believed_as_far_as_a_trusted_root_goes(
    made: Made, tmp_path: Path
) -> None:
    root = ForeignAuthority("their root")
    (tmp_path / "roots.pem").write_bytes(pem(root.certificate))
    leaf = root.certify(P256.public_key(), subject=str(ONE))
    brought = Certificates({"ecc-p256": leaf}, (root.certificate,))
    known = known_as(ONE, TOLD, "made")
    given = Given(
        identity=ONE,
        seed=known.seed,
        kind="ecc-p256",
        key=known.fingerprints["ecc-p256"],
        serial="zz",
        issuer="them",
        source="own",
        not_after=leaf.not_valid_after_utc,
        digest=hashlib.sha256(der(leaf)).digest(),
    )

    async def noted(identity: UUID, *entries: Known | Given, roots: bool) -> list[Any]:
        path = str(tmp_path / "roots.pem") if roots else None
        identities = made(roots=path)
        await identities.restore(identity, entries, brought)
        return (await made().ledger()).entries(identity)

    assert await noted(ONE, known, given, roots=False) == []
    assert await noted(OTHER, replace(known, identity=OTHER), given, roots=True) == []
    assert await noted(OTHER, known, given, roots=True) == []
    (proven, certificate) = await noted(ONE, known, given, roots=True)
    assert (proven.how, list(proven.keys)) == ("restored", ["ecc-p256"])  # no word of P-384
    # Of what the bundle says of its certificate only the time is believed.
    assert certificate == replace(
        given,
        serial=f"{leaf.serial_number:x}",
        issuer=leaf.issuer.rfc4514_string(),
        source="foreign",
    )
    assert "ecc-p384" not in proven.names
    odd = replace(known, identity=OTHER, reported=replace(known.reported, level=-1))
    assert await noted(OTHER, odd, given, roots=True) == []


async def test_a_ticket_is_believed_as_far_as_its_certificates_agree(made: Made) -> None:
    root = ForeignAuthority("the source's root")
    issuer = ForeignAuthority("the source's issuer", root)
    leaf = issuer.certify(P256.public_key(), subject=str(ONE))
    came = Certificates({"ecc-p256": leaf}, (issuer.certificate, root.certificate))
    known = known_as(ONE, TOLD, "made")
    given = Given(
        identity=ONE,
        seed=known.seed,
        kind="ecc-p256",
        key=known.fingerprints["ecc-p256"],
        serial="1f",
        issuer="the source's key identifier",
        source="own",
        not_after=leaf.not_valid_after_utc,
        digest=hashlib.sha256(der(leaf)).digest(),
    )
    revoked = Revoked(serial=given.serial, issuer=given.issuer, reason="superseded")
    entries: list[Entry] = [known, given, revoked]

    async def noted(identities: Identities) -> list[Any]:
        return (await identities.ledger()).entries(ONE)

    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    refused: list[tuple[list[Entry], Certificates]] = [
        (entries, Certificates({"ecc-p256": issuer.certify(stranger)}, came.chain)),
        (entries, Certificates({"ecc-p256": leaf}, (root.certificate,))),
        ([replace(known, identity=OTHER), given], came),
        ([replace(known, keys={"ecc-p256": b"nonsense"}, names={})], Certificates()),
        ([replace(known, reported=replace(known.reported, revision=-1))], Certificates()),
    ]
    for wrong, certificates in refused:
        with pytest.raises((RefusedError, DamagedError)):
            await made().take_over(ONE, wrong, certificates)
    assert await noted(made()) == []
    for identities in (made(), made()):  # the other time it has come back
        await identities.take_over(ONE, entries, came)
        (believed, certificate, revocation) = await noted(identities)
        assert believed == replace(known, how="restored")
        # Of the certificate the source's time is believed, and that it is revoked there: here its
        # authority is a foreign one, whose revocation lists nobody makes here.
        serial, name = f"{leaf.serial_number:x}", "CN=the source's issuer"
        assert certificate == replace(given, serial=serial, issuer=name, source="foreign")
        assert revocation == replace(revoked, serial=serial, issuer=name)
    ledger = await made().ledger()
    assert len(ledger.given()) == len(ledger.revoked()) == 1


async def test_what_leaves_with_a_tpm_says_what_was_revoked(made: Made) -> None:
    identities = made()
    certificates = await identities.welcome(ONE, TOLD, "main")
    renewed = await identities.renew((await identities.ledger()).known(ONE)[0])
    (first, *_, last) = (await identities.ledger()).given(ONE)
    await identities.revoke([first, last], "superseded")
    for held, revoked in ((certificates, first), (renewed, last)):
        told = await identities.told(ONE, held)
        assert [type(each) for each in told] == [Known, Given, Given, Revoked]
        assert told[-1] == (await identities.ledger()).revocation(revoked)
        assert {each.digest for each in told if isinstance(each, Given)} == set(
            held.leaf_digests.values()
        )


async def test_a_request_is_needed_for_another_issuer(made: Made) -> None:
    authority = made().authority
    with pytest.raises(RefusedError, match="ca csr"):
        await authority.adopt("f", b"")
