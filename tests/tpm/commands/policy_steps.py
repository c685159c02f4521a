"""Policy assertions in octets, each with the digest that it has to lead to."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.tpm.harness import Password, Result, Session, Tester, digest, sized
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE

Step = Callable[[bytes], bytes]
"""From one policyDigest to the next."""


@dataclass(frozen=True)
class Assertion:
    """A policy command without authorization, and what it extends policyDigest with."""

    code: int
    params: bytes = b""
    extends: bytes | None = None
    """If it is not the parameters without their sizes."""
    extended_by: int | None = None
    """If it is not the command's own code."""
    from_zero: bool = False

    def next(self, alg: int, before: bytes) -> bytes:
        """policyDigest after the assertion."""
        start = bytes(len(before)) if self.from_zero else before
        code = self.code if self.extended_by is None else self.extended_by
        extends = self.params if self.extends is None else self.extends
        return digest(alg, start, code.to_bytes(4), extends)

    def run(self, tester: Tester, session: Session) -> Result:
        """Make the assertion."""
        return tester.run(self.code, [session.handle], self.params)


def policy_digest(tester: Tester, session: Session) -> bytes:
    """What TPM2_PolicyGetDigest reports."""
    found = tester.run(CC.POLICY_GET_DIGEST, [session.handle])
    assert found.rc == 0, hex(found.rc)
    return found.sized()


def flush(tester: Tester, session: Session) -> None:
    """TPM2_FlushContext."""
    assert tester.run(CC.FLUSH_CONTEXT, params=session.handle.to_bytes(4)).rc == 0


def command_code(code: int) -> Assertion:
    """TPM2_PolicyCommandCode."""
    return Assertion(CC.POLICY_COMMAND_CODE, code.to_bytes(4))


def transport_spdm(alg: int, requester: bytes, tpm: bytes) -> Assertion:
    """TPM2_PolicyTransportSPDM."""
    names = sized(requester) + sized(tpm)
    extends = digest(alg, names) if requester or tpm else b""
    return Assertion(CC.POLICY_TRANSPORT_SPDM, names, extends)


def locality(bits: int) -> Assertion:
    """TPM2_PolicyLocality."""
    return Assertion(CC.POLICY_LOCALITY, bytes((bits,)))


def written(value: int) -> Assertion:
    """TPM2_PolicyNvWritten."""
    return Assertion(CC.POLICY_NV_WRITTEN, bytes((value,)))


def bound(code: int, octets: bytes) -> Assertion:
    """TPM2_PolicyCpHash, PolicyNameHash, PolicyTemplate or PolicyParameters."""
    return Assertion(code, sized(octets), octets)


def either(*digests: bytes) -> Assertion:
    """TPM2_PolicyOR."""
    params = len(digests).to_bytes(4) + b"".join(map(sized, digests))
    return Assertion(CC.POLICY_OR, params, b"".join(digests), from_zero=True)


def counter_timer(alg: int, operand: bytes, offset: int, operation: int) -> Assertion:
    """TPM2_PolicyCounterTimer."""
    rest = offset.to_bytes(2) + operation.to_bytes(2)
    return Assertion(CC.POLICY_COUNTER_TIMER, sized(operand) + rest, digest(alg, operand, rest))


def duplication(object_name: bytes, parent: bytes, include: int) -> Assertion:
    """TPM2_PolicyDuplicationSelect."""
    params = sized(object_name) + sized(parent) + bytes((include,))
    extends = (object_name if include else b"") + parent + bytes((include,))
    return Assertion(CC.POLICY_DUPLICATION_SELECT, params, extends)


def pcr(alg: int, values: list[bytes], *, bank: int = ALG.SHA256, bits: int = 1) -> Assertion:
    """TPM2_PolicyPCR with an expected digest over these values."""
    selection = (1).to_bytes(4) + bank.to_bytes(2) + b"\x03" + bits.to_bytes(3, "little")
    expected = digest(alg, *values)
    return Assertion(CC.POLICY_PCR, sized(expected) + selection, selection + expected)


AUTH_VALUE = Assertion(CC.POLICY_AUTH_VALUE)
PASSWORD = Assertion(CC.POLICY_PASSWORD, extended_by=CC.POLICY_AUTH_VALUE)
PHYSICAL_PRESENCE = Assertion(CC.POLICY_PHYSICAL_PRESENCE)


def policy_of(alg: int, *assertions: Assertion) -> bytes:
    """The policyDigest of some assertions in order."""
    value = bytes(len(digest(alg)))
    for assertion in assertions:
        value = assertion.next(alg, value)
    return value


def session_with(
    tester: Tester, *assertions: Assertion, alg: int = ALG.SHA256, kind: int = SE.POLICY
) -> Session:
    """A policy session in which these assertions have succeeded."""
    session = tester.start_session(kind, alg=alg)
    for assertion in assertions:
        result = assertion.run(tester, session)
        assert result.rc == 0, (hex(assertion.code), hex(result.rc))
    return session


def secret(
    tester: Tester,
    session: Session,
    *,
    entity: int = RH.OWNER,
    auth: Password | Session | None = None,
    nonce: bytes = b"",
    cp_hash: bytes = b"",
    reference: bytes = b"",
    expiration: int = 0,
) -> Result:
    """TPM2_PolicySecret."""
    params = sized(nonce) + sized(cp_hash) + sized(reference) + expiration.to_bytes(4, signed=True)
    return tester.run(CC.POLICY_SECRET, [entity, session.handle], params, [auth or Password()])


def updated(alg: int, before: bytes, code: int, name: bytes, reference: bytes) -> bytes:
    """PolicyUpdate()."""
    return digest(alg, digest(alg, before, code.to_bytes(4), name), reference)
