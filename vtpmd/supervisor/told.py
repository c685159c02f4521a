"""What workers, bundles and tickets tell of TPMs and their certificates, as entries of the ledger.

None of them is believed further than what it tells makes sense, or is proven.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key

from vtpmd.ipc.identity import Identity
from vtpmd.pki import acceptance, authority
from vtpmd.pki.acceptance import Tpm
from vtpmd.pki.certificates import Certificates, der, key_of
from vtpmd.pki.chains import has_signed
from vtpmd.pki.contents import EkKey, Reported, kind_of
from vtpmd.pki.entries import Entry, Given, How, Known, Revoked, Source, fingerprint
from vtpmd.pki.errors import DamagedError, RefusedError
from vtpmd.pki.store import Chain


def known_as(identity: UUID, told: Identity, how: How) -> Known:
    """What a worker tells of a TPM, as an entry. Raises DamagedError for keys that are none."""
    known = Known(
        identity=identity,
        seed=told.seed,
        keys=told.keys,
        names=told.names,
        reported=Reported(**vars(told.reported)),
        how=how,
    )
    demand_sound(known)
    return known


def demand_sound(known: Known) -> None:
    """Raise DamagedError for what nobody can certify, whoever says it."""
    for kind, octets in known.keys.items():
        ek_of(kind, octets)
    if known.names.keys() - known.keys.keys():
        raise DamagedError("it names keys that it does not tell")
    try:
        known.reported.demand_encodable()
    except ValueError as error:
        raise DamagedError(f"what its TPM is said to report: {error}") from None


def proven_by(
    entry: Known, certificates: Certificates, roots: Mapping[str, bytes]
) -> tuple[Known, Certificates]:
    """What certificates prove of an entry that somebody brings, and those.

    Raises RefusedError and DamagedError.
    """
    demand_sound(entry)
    tpm = Tpm(entry.keys, entry.reported)
    accepted = acceptance.accept(tpm, {"certificates": certificates.pem}, roots)
    for leaf in accepted.leaves.values():
        names = [str(name.value) for name in leaf.subject]
        if names not in ([], [str(entry.identity)]):
            raise RefusedError(f"a certificate is of {names[0]}")
    keys = {kind: entry.keys[kind] for kind in accepted.leaves}
    shown = {kind: name for kind, name in entry.names.items() if kind in keys}
    return replace(entry, keys=keys, names=shown, how="restored"), accepted


def of_holders(
    known: Sequence[Known], certificates: Certificates
) -> list[tuple[Known, Certificates]]:
    """Certificates with what is known of the TPM whose keys they are of. Raises RefusedError."""
    found = []
    for kind, leaf in certificates.leaves.items():
        holder = next((each for each in known if each.keys.get(kind) == key_of(leaf)), None)
        if holder is None:
            raise RefusedError(f"the {kind} certificate is of a key that is not named with it")
        if not any(has_signed(above, leaf) for above in certificates.chain):
            raise RefusedError(f"the {kind} certificate is not signed by whom it came with")
        found.append((holder, Certificates({kind: leaf})))
    return found


def ek_of(kind: str, octets: bytes) -> EkKey:
    """A key of which somebody says that it is an EK of a kind. Raises DamagedError."""
    try:
        key = load_der_public_key(octets)
    except Exception:  # whatever hostile octets lead the parser to
        raise DamagedError(f"what is called its {kind} key is none") from None
    if kind_of(key) != kind or not isinstance(key, EkKey):
        raise DamagedError(f"what is called its {kind} key is another")
    return key


def brought(
    known: Known, certificates: Certificates, own: Sequence[Chain], entries: Sequence[Entry]
) -> Iterator[Entry]:
    """What certificates that came with a TPM say of having been given.

    Of `entries`, which came, too, only times are believed, and that foreign authorities have
    revoked some. `own`: the chains of the own authority's issuers.
    """
    told = {each.digest: each for each in entries if isinstance(each, Given)}
    revoked = {(each.issuer, each.serial): each for each in entries if isinstance(each, Revoked)}
    for kind, leaf in certificates.leaves.items():
        if (said := told.get(hashlib.sha256(der(leaf)).digest())) is None:
            continue
        issuer = next((chain[0] for chain in own if has_signed(chain[0], leaf)), None)
        if issuer is not None:
            name = authority.key_id(issuer)
            yield replace(given_as(known, kind, leaf, name, "own"), time=said.time)
            continue
        name = leaf.issuer.rfc4514_string()
        given = replace(given_as(known, kind, leaf, name, "foreign"), time=said.time)
        yield given
        if (revocation := revoked.get((said.issuer, said.serial))) is not None:
            yield replace(revocation, issuer=given.issuer, serial=given.serial)


def given_as(known: Known, kind: str, leaf: x509.Certificate, issuer: str, source: Source) -> Given:
    return Given(
        identity=known.identity,
        seed=known.seed,
        kind=kind,
        key=fingerprint(known.keys[kind]),
        serial=f"{leaf.serial_number:x}",
        issuer=issuer,
        source=source,
        not_after=leaf.not_valid_after_utc,
        digest=hashlib.sha256(der(leaf)).digest(),
    )
