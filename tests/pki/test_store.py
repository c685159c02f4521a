"""The authority's file: sealed keys, and nothing of them in plain."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.faults.test_secrets import memory
from tests.pki.made import make, make_with_secrets
from tests.users import as_root
from vtpmd.pki import private_key, store
from vtpmd.pki.errors import DamagedError
from vtpmd.pki.store import Public, Secrets
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.key import Key
from vtpmd.storage.slot import Slot

UUID_A = UUID(int=7)
SLOT = Slot("local", "local", "kek", "1", "A256GCM", b"wrapped", 1)


def key() -> Key:
    return Key(bytearray(range(32)), bytes(16), (SLOT,))


def made() -> tuple[Public, Secrets]:
    return make_with_secrets(UUID_A)


def scalar(written: bytearray) -> int:
    return private_key.load(written).private_numbers().private_value


def test_it_is_there_again_and_its_keys_are_sealed(dir_fd: int, tmp_path: Path) -> None:
    public, secrets = made()
    assert store.load(dir_fd) is None
    store.save(dir_fd, public, secrets, key())
    found = store.load(dir_fd)
    assert found is not None
    assert found.public == public
    opened = found.unseal(key().dek)
    assert opened == secrets
    assert not opened.request
    content = (tmp_path / store.NAME).read_bytes()
    for own in (secrets.root, *secrets.issuers):
        number = scalar(own)
        octets = number.to_bytes(48)
        assert octets not in content
        assert octets not in base64.b64decode(json.loads(content)["sealed"])
        assert str(number) not in repr(opened) + repr(secrets) + repr(found)
    with pytest.raises(EnvelopeError):
        found.unseal(bytes(32))


UNSEAL = """
import os, sys
from vtpmd.pki import store
stored = store.load(os.open(sys.argv[1], os.O_RDONLY))
secrets = stored.unseal(bytearray(range(32)))
issuers = store.issuers(stored.public, secrets)
secrets.wipe()
print("done", flush=True)
sys.stdin.read()
"""
MAKE = """
import os, sys
from uuid import UUID
from vtpmd.pki import authority, private_key, store
from vtpmd.storage.key import Key
from vtpmd.storage.slot import Slot
secrets = store.Secrets(private_key.generate(), (private_key.generate(),))
own = map(private_key.load, (secrets.root, *secrets.issuers))
root, issuer = authority.make(UUID(int=7), *own)
public = store.Public(UUID(int=7), root, (issuer.chain,))
slot = Slot("local", "local", "kek", "1", "A256GCM", b"wrapped", 1)
directory = os.open(sys.argv[1], os.O_RDONLY)
store.save(directory, public, secrets, Key(bytearray(range(32)), bytes(16), (slot,)))
secrets.wipe()
print("done", flush=True)
sys.stdin.read()
"""


@as_root
@pytest.mark.parametrize("script", [UNSEAL, MAKE], ids=["unseal", "make"])
def test_what_was_done_leaves_no_copy_of_a_key(dir_fd: int, tmp_path: Path, script: str) -> None:
    """Nor is what is held while they sign in the form in which they are written down."""
    public, secrets = made()
    store.save(dir_fd, public, secrets, key())
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        regions = list(memory(process.pid))
        process.communicate()
    found = store.load(dir_fd)
    assert found is not None
    secrets = found.unseal(key().dek)
    assert any(b"secrets.wipe()" in region for region in regions)
    for own in (secrets.root, *secrets.issuers):
        assert not any(scalar(own).to_bytes(48) in region for region in regions)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda secrets: replace(secrets, root=bytearray()),
        lambda secrets: replace(secrets, root=secrets.issuers[0]),
        lambda secrets: replace(secrets, issuers=()),
        lambda secrets: replace(secrets, issuers=secrets.issuers * 2),
        lambda secrets: replace(secrets, issuers=(secrets.root,)),
        lambda secrets: replace(secrets, request=secrets.root[:-1]),
        lambda secrets: replace(secrets, request=bytearray(b"x")),
    ],
)
def test_keys_that_are_not_its_own_are_refused(
    dir_fd: int, spoil: Callable[[Secrets], Secrets]
) -> None:
    public, secrets = made()
    store.save(dir_fd, public, spoil(secrets), key())
    found = store.load(dir_fd)
    assert found is not None
    with pytest.raises(DamagedError):
        found.unseal(key().dek)


def test_a_key_of_the_library_is_read_as_well() -> None:
    """Authorities that were made by earlier versions have their public keys with them."""
    own = ec.generate_private_key(ec.SECP384R1())
    written = own.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert private_key.load(written).private_numbers() == own.private_numbers()
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(ValueError, match="P-384"):
        private_key.load(other.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def test_keys_are_random_and_written_as_others_write_them() -> None:
    one, other = private_key.generate(), private_key.generate()
    assert one != other
    plain = private_key.load(one).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert one[-48:] in plain


def test_a_request_waits_and_becomes_an_issuer(dir_fd: int) -> None:
    public, secrets = made()
    wanted = private_key.generate()
    waiting = Public(public.uuid, public.root, public.issuers, requested=True)
    store.save(dir_fd, waiting, Secrets(secrets.root, secrets.issuers, wanted), key())
    found = store.load(dir_fd)
    assert found is not None
    opened = found.unseal(key().dek)
    assert found.public.requested
    assert opened.request == wanted
    _, other = make(UUID_A)
    # A certificate of another key than the one that was kept:
    store.save(dir_fd, *store.replace_issuer(found.public, opened, other.chain), key())
    again = store.load(dir_fd)
    assert again is not None
    assert not again.public.requested
    with pytest.raises(DamagedError, match="not those of its certificates"):
        again.unseal(key().dek)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not what vtpmd writes"),
        (b"[]", "not what vtpmd writes"),
        (b'{"format": 2}', "format 1: 2"),
        (b'{"format": 1}', "not what vtpmd writes"),
    ],
)
def test_what_is_not_understood_is_refused(
    dir_fd: int, tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / store.NAME
    file.touch(0o600)
    file.write_bytes(content)
    with pytest.raises(DamagedError, match=reason):
        store.load(dir_fd)
    assert file.read_bytes() == content


@pytest.mark.parametrize("field", ["uuid", "root", "issuers", "sealed"])
def test_every_damaged_field_is_refused(dir_fd: int, tmp_path: Path, field: str) -> None:
    public, secrets = made()
    store.save(dir_fd, public, secrets, key())
    file = tmp_path / store.NAME
    document = json.loads(file.read_bytes())
    for broken in (None, 7, "x", [], ["x"]):
        file.write_text(json.dumps({**document, field: broken}))
        with pytest.raises(DamagedError):
            store.load(dir_fd)


def test_a_file_of_others_is_refused(dir_fd: int, tmp_path: Path) -> None:
    store.save(dir_fd, *made(), key())
    (tmp_path / store.NAME).chmod(0o640)
    with pytest.raises(StorageError, match="0640"):
        store.load(dir_fd)
