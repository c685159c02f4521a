"""One value of each kind that is stored or sent, all its fields shown; see README.md.

`python -m tests.compat.samples` writes their golden octets, and what the protocol's version sends.
"""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from tests.compat import protocol
from tests.pki.made import make_with_secrets
from vtpmd.ipc import identity, messages
from vtpmd.ipc.messages import Message
from vtpmd.ipc.rules import CODEC
from vtpmd.pki import private_key, store
from vtpmd.pki.contents import Reported
from vtpmd.pki.entries import Entry, Given, Known, Refused, Revoked, encode, fingerprint
from vtpmd.storage.anchor import Anchor
from vtpmd.storage.key import Key
from vtpmd.storage.mark import Mark
from vtpmd.storage.slot import Slot
from vtpmd.supervisor import condition_file
from vtpmd.supervisor.lease import Lease
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.states import Condition
from vtpmd.tpm.facts import state_format

HERE = Path(__file__).parent
UUID_A = UUID("7d1f2b30-8f2e-4a55-9a7c-0123456789ab")
UUID_B = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
DEK_ID = bytes(range(16))
SLOTS = (
    Slot("local", "local", "kek", "1", "A256GCM", b"wrapped", 1777863721),
    Slot("aws-kms", "aws", "alias/tpm", "", "SYMMETRIC_DEFAULT", b"again", 1777863722, "recovery"),
)
KEY = Key(bytearray(32), DEK_ID, SLOTS)
IDENTITY = identity.Identity(
    bytes(range(32)),
    identity.Reported("5654504D", "vtpmd", "00010000", "2.0", 0, 185),
    {"ecc-p384": b"a public key"},
    {"ecc-p384": b"\x00\x0c" + bytes(48)},
    {"ecc-p384": b"a request"},
    {"ecc-p384": bytes(32)},
)
GIVEN_BACK = messages.GiveBack(
    messages.Serve(UUID_A, "web1", KEY, "off", True, True), True, 600000, 7000, 4713
)
_MESSAGES: tuple[Message, ...] = (
    messages.ZygoteReady(
        ("default-v1", "fips-v1"), ("sha1", "sha256"), 1, ("NvIndex.data",), ("NvIndex.gone",)
    ),
    messages.Spawn(UUID_A, "web1"),
    messages.Spawned(4711),
    messages.SpawnFailed("fork: Cannot allocate memory"),
    messages.ReadExit(4712),
    messages.Exit(4712, "killed", 9),
    messages.Manufacture(UUID_A, "web1", "default-v1", ("sha256", "sha384"), KEY, "off"),
    messages.Manufacture(UUID_A, "web1", "fips-v1", ("sha256",), KEY, "off", ("ecc-p384",)),
    identity.Made(IDENTITY),
    identity.Complete({"ecc-p384": b"a certificate"}, (b"its issuer's", b"the one above")),
    identity.Recertify(
        UUID_A,
        "web1",
        KEY,
        bytes(32),
        {"ecc-p384": b"a certificate"},
        (b"its issuer's",),
        "off",
        "lent",
    ),
    identity.Identify(
        UUID_A,
        "web1",
        bytearray(32),
        ("rsa-2048",),
        True,
        str(UUID_A),
        "off",
        {"rsa-2048": bytes(range(256))},
    ),
    identity.Identified(IDENTITY),
    identity.ReadInstalled(),
    identity.Installed(bytes(32), {"rsa-2048": bytes(range(32)), "chain": b"\xff" * 32}),
    identity.Certify(bytes(32), {"rsa-2048": b"a certificate"}, (b"its issuer's",)),
    identity.Certified(6),
    identity.NotCertified("certificates", "the owner of the TPM has defined index 0x01C00002"),
    messages.Copy(UUID_B, "web2", UUID_A, bytearray(32), KEY, "off"),
    messages.Reseal(UUID_A, "web1", Key(bytearray(b"\1" * 32), bytes(16), SLOTS), KEY, "off"),
    messages.ChangeStoredHandOver(UUID_A, "web1", KEY, "begin", "away", "off", 3),
    messages.Stored(3),
    messages.Examine(UUID_A, "web1", bytearray(32), "off"),
    messages.Examined(3, 2, 1),
    messages.Serve(
        UUID_A, "web1", KEY, "off", True, True, True, (1000,), (107, 108), "lent", True, True
    ),
    messages.Ready(3, {"mode": "require", "landlock": "abi 4"}, 4321),
    messages.Succeed(UUID_A, "web1", "off"),
    messages.GiveWay(),
    messages.GivesWay(),
    messages.Prepared(),
    messages.Succession(messages.Serve(UUID_A, "web1", KEY, "off", True, True), True, 600000),
    messages.Succeeded(),
    messages.Detained("a client is in the middle of a request"),
    messages.UseKeeper(600000),
    messages.KeeperUsed(),
    GIVEN_BACK,
    messages.TakenBack(),
    messages.Keep(UUID_A, "web1", "best-effort"),
    messages.ReadSleepers((UUID_A, UUID_B)),
    messages.Sleepers(7, "0.2.0"),
    messages.Asleep(UUID_A, True, 4713),
    messages.WakeUp(UUID_A),
    messages.Awake(UUID_A, 4711),
    messages.NotAwake(UUID_A, "fork: Cannot allocate memory"),
    messages.ReplaceKeeper(),
    messages.KeeperReplaced("0.2.0"),
    messages.KeeperNotReplaced("the other keeper ended, or took too long"),
    messages.KeeperPrepared(),
    messages.HandOn(UUID_A, "web1", "off", False, (), False, (GIVEN_BACK,), 5000, 2),
    messages.HandOn(UUID_A, "web1", "off", True, (1, 0), True),
    messages.HandedOn(7, (1, 0), True),
    messages.KeeperSucceeded(),
    messages.Bequeath(),
    messages.ReadBequest(UUID_A),
    messages.Bequest(UUID_A),
    messages.ForgetBequest(UUID_A),
    messages.Failed("damaged", "its checksum is wrong"),
    messages.Status(),
    messages.StatusReply(
        UUID_A,
        "web1",
        3,
        "on",
        2,
        {"mode": "require"},
        123456,
        99,
        "No space left on device",
        3968,
        4,
        "lent",
        2,
        True,
        True,
        "a restored machine has sent its first command",
        "0.2.0",
        "default-v1",
        ("sha256",),
        {"success": 95, "lockout": 4},
        (90, 9),
        123456,
        17,
        4713,
        32,
        True,
    ),
    messages.ReadPcrs(),
    messages.Pcrs({"sha256": {0: bytes(32), 23: b"\xff" * 32}}),
    messages.Rekey(KEY),
    messages.Rewrap(SLOTS),
    messages.Rekeyed(4),
    messages.RekeyFailed("No space left on device"),
    messages.ChangeHandOver("declare"),
    messages.HandOverChanged("away", 2, 6),
    messages.HandOverRefused("nothing was migrated"),
    messages.ResetLockout(),
    messages.ResetStoredLockout(UUID_A, "web1", KEY, "off", "lent"),
    messages.LockoutReset(32, True, True),
    messages.LockoutNotReset("storage", "No space left on device"),
    messages.UnwrapKey(DEK_ID, tuple(slot.encode() for slot in SLOTS)),
    messages.Unwrapped(DEK_ID, bytearray(32)),
    messages.NotUnwrapped(DEK_ID),
    messages.Admit(True, (1000,), (107, 108)),
    messages.Admitted(),
    messages.Stop("stopped by an administrator", True),
    messages.Stopped(5),
    messages.Event("client-connected", "process 42 of user 107"),
)
MESSAGES: dict[str, Message] = {}
"""By the name of its file: a kind's first sample is called as the kind, then Kind-2, Kind-3."""
for _message in _MESSAGES:
    _kind = type(_message).__name__
    _number = 1 + sum(type(each) is type(_message) for each in MESSAGES.values())
    MESSAGES[_kind if _number == 1 else f"{_kind}-{_number}"] = _message
METADATA = Metadata(
    name="web1",
    uuid=UUID_A,
    created=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
    provider="local",
    profile="default-v1 without SHA1",
    pcr_banks=("sha256", "sha384"),
    labels=(("tier", "web"),),
    made_for=f"{bytes(32).hex()}:{bytes(range(32)).hex()}",
    identity=UUID_B,
    data_socket=True,
    autostart=True,
    owner="alice:kvm",
    mode="0600",
    handover="lent",
    handover_generation=7,
    incoming=True,
)
META = HERE / "meta.json"
CONDITION = Condition("failed", "its worker ended", datetime(2026, 5, 4, 3, 2, 1, 5, UTC))
CONDITION_FILE = HERE / "condition.json"
WHEN = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
ANCHOR = Anchor(Mark(bytes(range(16)), 2, 30), WHEN, Mark(bytes(16), 0, 12), "turned back")
ANCHOR_FILE = HERE / "anchor.json"
LEASE = Lease("host1", "0123456789abcdef" * 2, "5a3f8f5e-6f5f-4b0e-9a0a-0123456789ab", WHEN)
LEASE_FILE = HERE / "lease.json"
_KEY = b"a public key"
ENTRIES: tuple[Entry, ...] = (
    Known(
        identity=UUID_A,
        seed=bytes(range(32)),
        keys={"ecc-p384": _KEY},
        names={"ecc-p384": b"\x00\x0c" + bytes(48)},
        reported=Reported("5654504D", "vtpmd", "00010000", "2.0", 0, 185),
        how="trusted",
        time=WHEN,
    ),
    Given(
        identity=UUID_A,
        seed=bytes(range(32)),
        kind="ecc-p384",
        key=fingerprint(_KEY),
        serial="7fabcdef",
        issuer="CN=their CA",
        source="foreign",
        not_after=WHEN,
        digest=bytes(range(32)),
        time=WHEN,
    ),
    Revoked(serial="7fabcdef", issuer="00ff", reason="key-compromise", time=WHEN),
    Refused(digest=bytes(range(32, 64)), time=WHEN),
)
LEDGER = HERE / "ledger"
AUTHORITY, AUTHORITY_DEK = HERE / "authority", bytes(range(32))
"""The file of an authority with a request that is out, and its DEK. It holds what is random, so
that it is written once and only read from then on."""

STATE_FIELDS = HERE / "state_fields.txt"
"""Every field that a version's state has had, a line each. None is ever taken out."""


def state_fields() -> set[str]:
    """Those that are written down."""
    return set(STATE_FIELDS.read_text().split()) if STATE_FIELDS.exists() else set()


def golden(name: str) -> Path:
    """The file with the octets of a message, in hexadecimal."""
    return HERE / "messages" / f"{name}.hex"


def main() -> None:
    for name, message in MESSAGES.items():
        octets = CODEC.encode(message).hex()
        lines = [octets[start : start + 96] for start in range(0, len(octets), 96)]
        golden(name).write_text("\n".join(lines) + "\n")
    META.write_bytes(METADATA.encode())
    CONDITION_FILE.write_bytes(condition_file.encode(CONDITION))
    ANCHOR_FILE.write_bytes(ANCHOR.encode())
    LEASE_FILE.write_bytes(LEASE.encode())
    LEDGER.write_bytes(b"".join(map(encode, ENTRIES)))
    if not AUTHORITY.exists():
        _make_authority()
    protocol.write()
    known = state_fields() | set(state_format().fields)
    STATE_FIELDS.write_text("".join(f"{field}\n" for field in sorted(known)))


def _make_authority() -> None:
    public, secrets = make_with_secrets(UUID_B)
    public = replace(public, requested=True)
    secrets = replace(secrets, request=private_key.generate())
    directory = os.open(HERE, os.O_RDONLY)
    try:
        store.save(directory, public, secrets, Key(bytearray(AUTHORITY_DEK), DEK_ID, SLOTS))
    finally:
        os.close(directory)


if __name__ == "__main__":
    main()
