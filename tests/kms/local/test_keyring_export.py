"""Backups of a keyring: opened by the passphrase only, and independently recomputed."""

import hashlib

import cbor2
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from vtpmd.kms.local.keyring import Keyring, KeyringError
from vtpmd.kms.local.keyring_export import ExportError, export, import_

RING = Keyring().rotated(now=1).rotated(now=2)
PASSPHRASE = "correct horse battery"
CHEAP = 1 << 10
FILE = export(RING, PASSPHRASE, n=CHEAP)


def test_what_is_exported_is_imported() -> None:
    assert import_(FILE, PASSPHRASE) == RING
    assert RING.active.key not in FILE
    assert export(RING, PASSPHRASE, n=CHEAP) != FILE


def test_the_format_is_as_documented() -> None:
    content = cbor2.loads(export(RING, PASSPHRASE))
    ciphertext = content.pop("ciphertext")
    assert (content["format"], content["kind"], content["n"]) == (1, "vtpmd-keyring", 1 << 17)
    key = hashlib.scrypt(
        PASSPHRASE.encode(),
        salt=content["salt"],
        n=content["n"],
        r=content["r"],
        p=content["p"],
        maxmem=1 << 28,
        dklen=32,
    )
    aad = cbor2.dumps(content, canonical=True)
    assert AESGCM(key).decrypt(content["iv"], ciphertext, aad) == RING.encode()


@pytest.mark.parametrize("passphrase", ["", "elevenchars"])
def test_a_short_passphrase_is_refused(passphrase: str) -> None:
    with pytest.raises(ExportError, match="12 characters"):
        export(RING, passphrase)


def changed(**changes: object) -> bytes:
    return cbor2.dumps(cbor2.loads(FILE) | changes, canonical=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no backup of a keyring"),
        (RING.encode(), "no backup of a keyring"),
        (bytes((1 << 20) + 1), "more than"),
        (changed(format=2), "newer vtpmd"),
        (changed(format=0), "another kind"),
        (changed(kind="x"), "another kind"),
        (changed(n=1000), "out of range"),
        (changed(n=1 << 30), "out of range"),
        (changed(n=1 << 19), "out of range"),
        (changed(r=9), "out of range"),
        (changed(p=0), "out of range"),
        (changed(salt=b""), "another size"),
        (changed(iv=b""), "another size"),
        (changed(ciphertext=b""), "passphrase is wrong"),
        (changed(n=2 * CHEAP), "passphrase is wrong"),
    ],
    ids=range(15),  # the octets, which are new each time, would be the names
)
def test_what_is_no_backup_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        import_(data, PASSPHRASE)


@settings(deadline=None, max_examples=50)
@given(position=st.integers(0, len(FILE) - 1), value=st.integers(1, 255))
def test_no_change_of_a_backup_goes_unnoticed(position: int, value: int) -> None:
    data = bytearray(FILE)
    data[position] ^= value
    with pytest.raises(ExportError):
        import_(bytes(data), PASSPHRASE)


def test_merging_keeps_what_is_active_and_loses_nothing() -> None:
    mine = Keyring().rotated(now=3)
    merged = mine.merged(RING)
    assert merged.active == mine.active
    assert {version.key for version in merged.versions} == {
        version.key for version in (*mine.versions, *RING.versions)
    }
    assert merged.merged(RING) == merged
    other = Keyring().rotated(now=1).rotated(now=2)
    forged = Keyring(
        tuple(
            type(version)(mine.active.id, 1, "active", version.key)
            for version in other.versions[:1]
        )
    )
    with pytest.raises(KeyringError, match="they differ"):
        mine.merged(forged)
