"""The local provider: the contract, its keyring's sources and checks, rotation."""

# ruff: noqa: ASYNC240 (these tests may wait for their own small files)

import os
import stat
from pathlib import Path
from uuid import UUID

import cbor2
import pytest
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.kms import configured
from tests.kms.wrapping import DEK
from vtpmd.kms.contract import KeyProviderContract
from vtpmd.kms.errors import KeyProviderError, KeyUnavailableError
from vtpmd.kms.local.keyring import MAX_VERSIONS, KekVersion, Keyring, parse
from vtpmd.kms.local.keyring_export import export
from vtpmd.kms.local.provider import LocalProvider
from vtpmd.kms.provider import KeyContext, KeyProvider

CONTEXT = KeyContext(UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), bytes(range(16)))
SETTINGS: dict[str, object] = {"type": "local", "name": "host"}
PASSPHRASE = "correct horse battery"


def write_keyring(path: Path, keyring: Keyring, mode: int = 0o600) -> None:
    path.write_bytes(keyring.encode())
    path.chmod(mode)


class TestContract(KeyProviderContract):
    """The local provider passes what every provider must pass."""

    keyring: Path

    @pytest.fixture(autouse=True)
    def _place(self, keyring: Path) -> None:
        self.keyring = keyring

    async def open_provider(self) -> KeyProvider:
        provider = LocalProvider("host", self.keyring)
        await provider.initialise()
        return provider


async def test_wrapping_is_recomputed_independently(keyring: Path) -> None:
    ring = Keyring().rotated(now=1)
    write_keyring(keyring, ring)
    slot = await LocalProvider("host", keyring).wrap(DEK, CONTEXT)
    aad = cbor2.dumps(["vtpmd-dek-v1", CONTEXT.uuid.bytes, CONTEXT.dek_id], canonical=True)
    iv, encrypted = slot.wrapped[:12], slot.wrapped[12:]
    assert AESGCM(ring.active.key).decrypt(iv, encrypted, aad) == DEK
    assert (slot.key_version, slot.algorithm) == (ring.active.id, "A256GCM")


async def test_keyring_is_created_once_with_a_note(keyring: Path) -> None:
    provider = LocalProvider("host", keyring)
    note = await provider.initialise()
    assert note is not None
    assert str(keyring) in note
    assert "back it up" in note
    assert stat.S_IMODE(keyring.stat().st_mode) == 0o600
    content = keyring.read_bytes()
    assert len(parse(content).versions) == 1
    assert await provider.initialise() is None
    assert keyring.read_bytes() == content
    assert os.listdir(keyring.parent) == ["keyring"]


async def test_missing_keyring_is_not_created_by_use(keyring: Path) -> None:
    provider = LocalProvider("host", keyring)
    with pytest.raises(KeyUnavailableError, match=f"{keyring} is missing: restore it") as caught:
        await provider.wrap(DEK, CONTEXT)
    assert caught.value.retry
    assert not keyring.exists()


async def test_restored_keyring_works_at_once(keyring: Path) -> None:
    provider = LocalProvider("host", keyring)
    await provider.initialise()
    slot = await provider.wrap(DEK, CONTEXT)
    keyring.rename(keyring.with_name("backup"))
    with pytest.raises(KeyUnavailableError):
        await provider.unwrap(slot, CONTEXT)
    keyring.with_name("backup").rename(keyring)
    assert await provider.unwrap(slot, CONTEXT) == DEK


async def test_missing_kek_is_named(keyring: Path) -> None:
    write_keyring(keyring, Keyring().rotated(now=1))
    provider = LocalProvider("host", keyring)
    slot = await provider.wrap(DEK, CONTEXT)
    write_keyring(keyring, Keyring().rotated(now=2))
    with pytest.raises(
        KeyUnavailableError, match=f"KEK {slot.key_version} is not in the"
    ) as caught:
        await provider.unwrap(slot, CONTEXT)
    assert not caught.value.retry


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o644])
async def test_keyring_open_to_others_is_refused(keyring: Path, mode: int) -> None:
    write_keyring(keyring, Keyring().rotated(now=1), mode)
    with pytest.raises(KeyUnavailableError, match=f"mode {mode:04o}; take") as caught:
        await LocalProvider("host", keyring).check()
    assert not caught.value.retry


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_keyring_of_another_user_is_refused(keyring: Path) -> None:
    write_keyring(keyring, Keyring().rotated(now=1))
    os.chown(keyring, 65534, 65534)
    with pytest.raises(KeyUnavailableError, match="belongs to user 65534"):
        await LocalProvider("host", keyring).check()


async def test_keyring_that_is_a_link_is_refused_and_not_replaced(keyring: Path) -> None:
    write_keyring(keyring.with_name("elsewhere"), Keyring().rotated(now=1))
    keyring.symlink_to("elsewhere")
    provider = LocalProvider("host", keyring)
    assert await provider.initialise() is None
    with pytest.raises(KeyUnavailableError, match="cannot be used"):
        await provider.check()
    assert keyring.is_symlink()


async def test_damaged_keyring_is_told_and_left_as_it_is(keyring: Path) -> None:
    write_keyring(keyring, Keyring().rotated(now=1))
    damaged = keyring.read_bytes()[:-1]
    keyring.write_bytes(damaged)
    provider = LocalProvider("host", keyring)
    assert await provider.initialise() is None
    for attempt in (provider.check, provider.rotate, provider.describe):
        with pytest.raises(KeyUnavailableError, match="damaged") as caught:
            await attempt()
        assert not caught.value.retry
    assert keyring.read_bytes() == damaged


async def test_credential_comes_before_the_file(keyring: Path) -> None:
    credential = keyring.with_name("kek")
    write_keyring(credential, Keyring().rotated(now=1), 0o440)  # as systemd's ACL shows
    provider = LocalProvider("host", keyring, credential)
    assert await provider.initialise() is None
    assert not keyring.exists()
    slot = await provider.wrap(DEK, CONTEXT)
    assert slot.key_version == parse(credential.read_bytes()).active.id
    assert (await provider.describe())["keyring"] == str(credential)
    with pytest.raises(KeyProviderError, match="read-only"):
        await provider.rotate()


async def test_credential_open_to_all_is_refused_and_the_file_not_used(keyring: Path) -> None:
    credential = keyring.with_name("kek")
    write_keyring(credential, Keyring().rotated(now=1), 0o444)
    write_keyring(keyring, Keyring().rotated(now=2))
    with pytest.raises(KeyUnavailableError, match="mode 0444"):
        await LocalProvider("host", keyring, credential).check()


async def test_without_credential_the_file_is_used(keyring: Path) -> None:
    provider = LocalProvider("host", keyring, keyring.with_name("kek"))
    assert await provider.initialise() is not None
    assert (await provider.describe())["keyring"] == str(keyring)


async def test_rotated_keyring_opens_old_slots_and_wraps_under_the_new_kek(keyring: Path) -> None:
    provider = LocalProvider("host", keyring)
    await provider.initialise()
    old = await provider.wrap(DEK, CONTEXT)
    fresh = await provider.rotate()
    assert await provider.unwrap(old, CONTEXT) == DEK
    new = await provider.rewrap(old, CONTEXT)
    assert old.key_version != new.key_version == fresh
    assert await provider.unwrap(new, CONTEXT) == DEK
    versions = (await provider.describe())["versions"]
    assert [version["state"] for version in versions] == ["retired", "active"]
    assert os.listdir(keyring.parent) == ["keyring"]


async def test_rotations_at_the_same_time_lose_no_kek(keyring: Path) -> None:
    provider = LocalProvider("host", keyring)
    await provider.initialise()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(provider.rotate)
    assert len(parse(keyring.read_bytes()).versions) == 6


async def test_keyring_that_is_full_is_not_rotated_beyond_reading(keyring: Path) -> None:
    old = tuple(KekVersion(f"{n:016x}", n, "retired", bytes(32)) for n in range(MAX_VERSIONS - 1))
    full = Keyring(old).rotated(now=MAX_VERSIONS)
    write_keyring(keyring, full)
    provider = LocalProvider("host", keyring)
    with pytest.raises(KeyProviderError, match=r"cannot be rotated: .* more than 1024 KEKs"):
        await provider.rotate()
    assert parse(keyring.read_bytes()) == full
    backup = export(Keyring().rotated(now=1), PASSPHRASE, n=1 << 10)
    with pytest.raises(KeyProviderError, match=r"cannot be used: .* more than 1024 KEKs"):
        await provider.restore(backup, PASSPHRASE)
    assert parse(keyring.read_bytes()) == full


async def test_nothing_is_restored_beside_a_credential(keyring: Path) -> None:
    credential = keyring.with_name("kek")
    write_keyring(credential, Keyring().rotated(now=1), 0o400)
    backup = export(Keyring().rotated(now=2), PASSPHRASE, n=1 << 10)
    with pytest.raises(KeyProviderError, match=f"{credential} is a credential .*: restore the fil"):
        await LocalProvider("host", keyring, credential).restore(backup, PASSPHRASE)
    assert not keyring.exists()


async def test_only_keks_that_there_are_can_have_been_saved(keyring: Path) -> None:
    provider = LocalProvider("host", keyring, require_backup=True)
    await provider.initialise()
    active = parse(keyring.read_bytes()).active.id
    for unknown in ("0000", f"{active}\n", "x" * (1 << 20)):
        with pytest.raises(KeyProviderError, match="what was saved is not what is in use"):
            await provider.note_backup([active, unknown])
    with pytest.raises(KeyUnavailableError, match="has not been saved yet"):
        await provider.check()
    await provider.note_backup([active])
    await provider.check()


async def test_keks_that_were_saved_before_stay_saved(keyring: Path) -> None:
    provider = LocalProvider("host", keyring, require_backup=True)
    await provider.initialise()
    before = keyring.read_bytes()
    await provider.note_backup([parse(before).active.id])
    await provider.note_backup([await provider.rotate()])
    await provider.check()
    keyring.write_bytes(before)
    await provider.check()


async def test_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    provider = LocalProvider("host", tmp_path / "missing" / "keyring")
    with pytest.raises(KeyUnavailableError, match="cannot be created: cannot open directory"):
        await provider.initialise()


async def test_nothing_secret_is_described(keyring: Path) -> None:
    provider = LocalProvider("host", keyring)
    await provider.initialise()
    key = parse(keyring.read_bytes()).active.key
    shown = repr(provider) + repr(await provider.describe())
    assert key.hex() not in shown
    assert repr(key)[2:-1] not in shown


def test_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    usual = configured.opened(LocalProvider, SETTINGS, tmp_path)
    assert repr(usual) == f"LocalProvider('host', '{tmp_path}/keyring')"
    elsewhere = SETTINGS | {"keyring": "/etc/vtpmd/keyring"}
    provider = configured.opened(LocalProvider, elsewhere, tmp_path)
    assert repr(provider) == "LocalProvider('host', '/etc/vtpmd/keyring')"


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"keyring": "relative"}, "keyring: the path must be absolute"),
        ({"keyring": 5}, "keyring: a path is expected"),
        (
            {"path": "/x"},
            "path: unknown setting path; known are keyring, name, require_backup, type",
        ),
        ({"require_backup": "yes"}, "require_backup: must be a valid boolean"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], problem: str) -> None:
    assert configured.problems(SETTINGS | wrong) == [problem]


async def test_credential_directory_is_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").mkdir(0o700)
    write_keyring(tmp_path / "credentials" / "kek", Keyring().rotated(now=1), 0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    description = await configured.opened(LocalProvider, SETTINGS, tmp_path).describe()
    assert description["keyring"] == str(tmp_path / "credentials" / "kek")
