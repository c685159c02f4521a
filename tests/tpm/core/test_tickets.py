"""Tickets are HMACs under a hierarchy's proof, and nothing else passes for one (Part 2, 10.6)."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from vtpmd.tpm.core import tickets
from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.state import Tpm
from vtpmd.tpm.wire.base import (
    TPMT_TK_AUTH,
    TPMT_TK_CREATION,
    TPMT_TK_HASHCHECK,
    TPMT_TK_VERIFIED,
)
from vtpmd.tpm.wire.constants import ALG, RH, ST

DIGEST, NAME = b"d" * 32, b"\0\x0b" + b"n" * 32
MESSAGE = b"the message that was signed"
HASHES = {ALG.SHA256: "sha256", ALG.SHA384: "sha384"}


@dataclass(frozen=True)
class Authorization:
    """What a TPMT_TK_AUTH proves."""

    timeout: int = 1000
    tag: int = ST.AUTH_SIGNED
    expires_on_reset: bool = False
    rest: dict[str, bytes] = field(
        default_factory=lambda: {"cp_hash": b"c", "policy_ref": b"p", "auth_name": NAME}
    )

    def make(self, tpm: Tpm) -> TPMT_TK_AUTH:
        return tickets.authorization(
            tpm,
            self.tag,
            RH.OWNER,
            self.timeout,
            expires_on_reset=self.expires_on_reset,
            cp_hash=self.rest["cp_hash"],
            policy_ref=self.rest["policy_ref"],
            auth_name=self.rest["auth_name"],
        )

    def check(self, tpm: Tpm, ticket: TPMT_TK_AUTH) -> None:
        tickets.check_authorization(
            tpm,
            ticket,
            self.timeout,
            "ticket",
            expires_on_reset=self.expires_on_reset,
            cp_hash=self.rest["cp_hash"],
            policy_ref=self.rest["policy_ref"],
            auth_name=self.rest["auth_name"],
        )


def refused(check: Callable[..., None], *arguments: Any) -> bool:
    """Whether a check raises RC.TICKET at its position."""
    try:
        check(*arguments)
    except TpmError as error:
        return (error.code, error.at) == (RC.TICKET, "ticket")
    return False


def proof(tpm: Tpm, message: bytes) -> bytes:
    return hmac.digest(tpm.permanent.owner.proof, message, "sha512")


def test_values(tpm: Tpm) -> None:
    tpm.volatile.time_epoch = 0x01020304
    tpm.permanent.total_reset_count = 5
    creation = tickets.creation(tpm, RH.OWNER, NAME, DIGEST)
    assert creation.digest == proof(tpm, b"\x80\x21" + NAME + DIGEST)
    verified = tickets.verified(tpm, RH.OWNER, DIGEST, NAME)
    assert verified.hmac == proof(tpm, b"\x80\x22" + DIGEST + NAME)
    of_digest = tickets.digest_verified(tpm, RH.OWNER, ALG.SHA384, DIGEST, NAME)
    assert of_digest.hmac == proof(tpm, b"\x80\x27" + DIGEST + NAME + b"\0\x0c")
    assert message_ticket(tpm, MESSAGE).hmac == proof(tpm, b"\x80\x26" + MESSAGE + NAME)
    hash_check = tickets.hash_check(tpm, RH.OWNER, ALG.SHA256, DIGEST, safe=True)
    assert hash_check.digest == proof(tpm, b"\x80\x24\0\x0b" + DIGEST)
    head = b"\x80\x25cp" + NAME
    timeout = (1000).to_bytes(8)
    epoch, resets = bytes((1, 2, 3, 4)), (5).to_bytes(8)
    assert Authorization().make(tpm).digest == proof(tpm, head + timeout + epoch)
    until_reset = Authorization(expires_on_reset=True).make(tpm)
    assert until_reset.digest == proof(tpm, head + timeout + epoch + resets)
    assert Authorization(timeout=0).make(tpm).digest == proof(tpm, head + bytes(8))
    secret = Authorization(tag=ST.AUTH_SECRET).make(tpm)
    assert secret.digest == proof(tpm, b"\x80\x23" + head[2:] + timeout + epoch)


def test_creation(tpm: Tpm) -> None:
    ticket = tickets.creation(tpm, RH.OWNER, NAME, DIGEST)
    check = tickets.check_creation
    assert not refused(check, tpm, ticket, NAME, DIGEST, "ticket")
    assert refused(check, tpm, ticket, NAME[:-1] + b"x", DIGEST, "ticket")
    assert refused(check, tpm, ticket, NAME, DIGEST[:-1] + b"x", "ticket")
    other = TPMT_TK_CREATION(ST.CREATION, RH.PLATFORM, ticket.digest)
    assert refused(check, tpm, other, NAME, DIGEST, "ticket")
    null = TPMT_TK_CREATION(ST.CREATION, RH.NULL, b"")
    assert refused(check, tpm, null, NAME, DIGEST, "ticket")
    of_null = tickets.creation(tpm, RH.NULL, NAME, DIGEST)
    assert not refused(check, tpm, of_null, NAME, DIGEST, "ticket")


def message_ticket(tpm: Tpm, message: bytes, hierarchy: int = RH.OWNER) -> TPMT_TK_VERIFIED:
    """A ticket for a message that comes in two pieces."""
    running = tickets.running_message(tpm, hierarchy)
    if running is not None:
        running.update(message[:5])
        running.update(message[5:])
    return tickets.message_verified(hierarchy, running, NAME)


def test_verified(tpm: Tpm) -> None:
    """Each kind of ticket proves its own message, and no other kind's."""
    digests = {alg: hashlib.new(name, MESSAGE).digest() for alg, name in HASHES.items()}
    made = (
        tickets.verified(tpm, RH.OWNER, digests[ALG.SHA256], NAME),
        tickets.digest_verified(tpm, RH.OWNER, ALG.SHA384, digests[ALG.SHA384], NAME),
        message_ticket(tpm, MESSAGE),
    )
    check, sha256, sha384 = tickets.check_verified, ALG.SHA256, ALG.SHA384
    for ticket in made:
        assert not refused(check, tpm, ticket, MESSAGE, sha256, NAME, "ticket")
        assert refused(check, tpm, ticket, MESSAGE, sha256, NAME[:-1] + b"x", "ticket")
        assert refused(check, tpm, ticket, MESSAGE + b"x", sha256, NAME, "ticket")
        empty = TPMT_TK_VERIFIED(ticket.tag, RH.OWNER, ticket.metadata, b"")
        assert refused(check, tpm, empty, MESSAGE, sha256, NAME, "ticket")
        for other in made:
            mixed = TPMT_TK_VERIFIED(ticket.tag, RH.OWNER, ticket.metadata, other.hmac)
            assert refused(check, tpm, mixed, MESSAGE, sha256, NAME, "ticket") == (
                other is not ticket
            )
    # Only a ticket that does not say its hash is looked at with that of the Name.
    assert refused(check, tpm, made[0], MESSAGE, sha384, NAME, "ticket")
    assert not refused(check, tpm, made[1], MESSAGE, sha384, NAME, "ticket")
    as_other = TPMT_TK_VERIFIED(ST.DIGEST_VERIFIED, RH.OWNER, ALG.SHA256, made[1].hmac)
    assert refused(check, tpm, as_other, MESSAGE, sha256, NAME, "ticket")


def test_null_tickets_prove_nothing(tpm: Tpm) -> None:
    check = tickets.check_verified
    null = tickets.verified(tpm, RH.NULL, DIGEST, NAME)
    assert null == TPMT_TK_VERIFIED(ST.VERIFIED, RH.NULL, None, b"")
    of_digest = tickets.digest_verified(tpm, RH.NULL, ALG.SHA256, DIGEST, NAME)
    assert of_digest == TPMT_TK_VERIFIED(ST.DIGEST_VERIFIED, RH.NULL, ALG.SHA256, b"")
    of_message = message_ticket(tpm, MESSAGE, RH.NULL)
    assert of_message == TPMT_TK_VERIFIED(ST.MESSAGE_VERIFIED, RH.NULL, None, b"")
    for ticket in (null, of_digest, of_message):
        assert refused(check, tpm, ticket, MESSAGE, ALG.SHA256, NAME, "ticket")
    # mu is no digest of the message alone (errata 1, 2.5).
    of_mu = tickets.digest_verified(tpm, RH.OWNER, ALG.NULL, bytes(64), NAME)
    assert (of_mu.hierarchy, of_mu.hmac) == (RH.NULL, b"")


def test_hash_check(tpm: Tpm) -> None:
    ticket = tickets.hash_check(tpm, RH.OWNER, ALG.SHA256, DIGEST, safe=True)
    check = tickets.check_hash_check
    assert not refused(check, tpm, ticket, ALG.SHA256, DIGEST, "ticket")
    assert refused(check, tpm, ticket, ALG.SHA3_256, DIGEST, "ticket")
    for hierarchy, safe in ((RH.NULL, True), (RH.OWNER, False)):
        null = tickets.hash_check(tpm, hierarchy, ALG.SHA256, DIGEST, safe=safe)
        assert null == TPMT_TK_HASHCHECK(ST.HASHCHECK, RH.NULL, b"")
        assert refused(check, tpm, null, ALG.SHA256, DIGEST, "ticket")


def test_authorization(tpm: Tpm) -> None:
    given = Authorization()
    ticket = given.make(tpm)
    assert not refused(given.check, tpm, ticket)
    assert refused(Authorization(timeout=1001).check, tpm, ticket)
    assert refused(Authorization(expires_on_reset=True).check, tpm, ticket)
    assert refused(given.check, tpm, TPMT_TK_AUTH(ST.AUTH_SECRET, RH.OWNER, ticket.digest))
    assert refused(given.check, tpm, TPMT_TK_AUTH(ST.AUTH_SIGNED, RH.OWNER, b""))
    for name in given.rest:
        other = Authorization(rest={**given.rest, name: b"other"})
        assert refused(other.check, tpm, ticket)
    tpm.volatile.time_epoch += 1
    assert refused(given.check, tpm, ticket)


def test_a_proof_that_has_changed_ends_every_ticket(tpm: Tpm) -> None:
    ticket = tickets.creation(tpm, RH.OWNER, NAME, DIGEST)
    tpm.permanent.owner.proof = bytes(64)
    assert refused(tickets.check_creation, tpm, ticket, NAME, DIGEST, "ticket")


@pytest.mark.parametrize(
    ("message", "safe", "safe_to_go_on"),
    [
        (b"", True, False),
        (b"abc", True, False),
        (b"\xffTC", True, False),
        (b"\xffTCG", False, False),
        (b"\xffTCGmore", False, False),
        (b"abcd", True, True),
        (b"\xffTCH", True, True),
    ],
)
def test_safe_messages_are_not_the_tpms_own(
    message: bytes, safe: bool, safe_to_go_on: bool
) -> None:
    assert tickets.is_safe(message) is safe
    assert tickets.is_safe_beginning(message) is safe_to_go_on
