"""The authority's file: sealed keys, and nothing of them in plain."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.faults.test_secrets import memory
from tests.users import as_root
from vtpmd.pki import authority, store
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
    root, root_key, issuer = authority.make(UUID_A)
    return Public(UUID_A, root, (issuer.chain,)), Secrets(root_key, (issuer.key,))


def private(found: authority.Key) -> bytes:
    return found.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def test_it_is_there_again_and_its_keys_are_sealed(dir_fd: int, tmp_path: Path) -> None:
    public, secrets = made()
    assert store.load(dir_fd) is None
    store.save(dir_fd, public, secrets, key())
    found = store.load(dir_fd)
    assert found is not None
    assert found.public == public
    opened = found.unseal(key().dek)
    assert opened.request is None
    assert private(opened.root) == private(secrets.root)
    assert [private(each) for each in opened.issuers] == [private(each) for each in secrets.issuers]
    content = (tmp_path / store.NAME).read_bytes()
    for own in (secrets.root, *secrets.issuers):
        number = own.private_numbers().private_value
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
print("unsealed", flush=True)
sys.stdin.read()
"""


@as_root
def test_unsealing_leaves_no_copy_of_a_key(dir_fd: int, tmp_path: Path) -> None:
    """Nor is what is held while they sign in the form in which they are written down."""
    public, secrets = made()
    store.save(dir_fd, public, secrets, key())
    numbers = [each.private_numbers().private_value for each in (secrets.root, *secrets.issuers)]
    with subprocess.Popen(
        [sys.executable, "-c", UNSEAL, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "unsealed\n"
        regions = list(memory(process.pid))
        process.communicate()
    assert any(b"stored.unseal(" in region for region in regions)
    for number in numbers:
        assert not any(number.to_bytes(48) in region for region in regions)


def test_a_request_waits_and_becomes_an_issuer(dir_fd: int) -> None:
    public, secrets = made()
    wanted = authority.new_key()
    waiting = Public(public.uuid, public.root, public.issuers, requested=True)
    store.save(dir_fd, waiting, Secrets(secrets.root, secrets.issuers, wanted), key())
    found = store.load(dir_fd)
    assert found is not None
    opened = found.unseal(key().dek)
    assert found.public.requested
    assert opened.request is not None
    assert private(opened.request) == private(wanted)
    _, _, other = authority.make(UUID_A)
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
