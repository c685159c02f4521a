"""NV commands in octets, for tests of both a TPM of ours and a real swtpm."""

from dataclasses import dataclass

from tests.tpm.harness import Password, Result, Session, Tester, digest, sized
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, NT, RH

INDEX = 0x01500000
OWNER_RW = TPMA_NV.OWNERREAD | TPMA_NV.OWNERWRITE
AUTH_RW = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE
PLATFORM_RW = TPMA_NV.PPREAD | TPMA_NV.PPWRITE
POLICY_RW = TPMA_NV.POLICYREAD | TPMA_NV.POLICYWRITE
ALL_RW = OWNER_RW | AUTH_RW | PLATFORM_RW | POLICY_RW

Auth = Password | Session


def of_type(nt: int) -> int:
    """The type field of TPMA_NV."""
    return nt << TPMA_NV.NT_SHIFT


@dataclass(frozen=True)
class Area:
    """The public area of an index."""

    attributes: int = AUTH_RW | OWNER_RW
    size: int = 8
    index: int = INDEX
    alg: int = ALG.SHA256
    policy: bytes = b""

    def marshal(self, *, more: int = 0) -> bytes:
        """TPMS_NV_PUBLIC, with `more` attributes SET."""
        attributes = self.attributes | more
        area = self.index.to_bytes(4) + self.alg.to_bytes(2) + attributes.to_bytes(4)
        return area + sized(self.policy) + self.size.to_bytes(2)

    def name(self, *, more: int = 0) -> bytes:
        """The Name of the index."""
        return self.alg.to_bytes(2) + digest(self.alg, self.marshal(more=more))


def define(
    tester: Tester,
    area: Area,
    *,
    auth: bytes = b"",
    by: int = RH.OWNER,
    session: Auth | None = None,
) -> Result:
    """TPM2_NV_DefineSpace."""
    params = sized(auth) + sized(area.marshal())
    return tester.run(CC.NV_DEFINE_SPACE, [by], params, [session or Password()])


def undefine(tester: Tester, index: int = INDEX, *, by: int = RH.OWNER) -> Result:
    """TPM2_NV_UndefineSpace."""
    return tester.run(CC.NV_UNDEFINE_SPACE, [by, index], auths=[Password()])


def write(
    tester: Tester,
    data: bytes,
    offset: int = 0,
    *,
    index: int = INDEX,
    by: int | None = None,
    auth: Auth | None = None,
) -> Result:
    """TPM2_NV_Write."""
    params = sized(data) + offset.to_bytes(2)
    return _access(tester, CC.NV_WRITE, params, index, by, auth)


def read(
    tester: Tester,
    size: int,
    offset: int = 0,
    *,
    index: int = INDEX,
    by: int | None = None,
    auth: Auth | None = None,
) -> Result:
    """TPM2_NV_Read."""
    params = size.to_bytes(2) + offset.to_bytes(2)
    return _access(tester, CC.NV_READ, params, index, by, auth)


def access(
    tester: Tester,
    code: int,
    params: bytes = b"",
    *,
    index: int = INDEX,
    by: int | None = None,
    auth: Auth | None = None,
) -> Result:
    """Any command that has an authHandle and an nvIndex."""
    return _access(tester, code, params, index, by, auth)


def _access(
    tester: Tester, code: int, params: bytes, index: int, by: int | None, auth: Auth | None
) -> Result:
    handles = [index if by is None else by, index]
    return tester.run(code, handles, params, [auth or Password()])


def increment(tester: Tester, *, index: int = INDEX) -> Result:
    """TPM2_NV_Increment with the authValue of the index, which is empty."""
    return access(tester, CC.NV_INCREMENT, index=index)


def count(tester: Tester, *, index: int = INDEX) -> int:
    """The value of a counter, a bit field or a PIN index."""
    found = read(tester, 8, index=index, by=RH.OWNER)
    assert found.rc == 0, hex(found.rc)
    return int.from_bytes(found.sized())


def attributes(tester: Tester, index: int = INDEX) -> int:
    """TPMA_NV as TPM2_NV_ReadPublic reports it."""
    found = tester.run(CC.NV_READ_PUBLIC, [index])
    assert found.rc == 0, hex(found.rc)
    return int.from_bytes(found.sized()[6:10])


COUNTER = Area(of_type(NT.COUNTER) | AUTH_RW | OWNER_RW)
BITS = Area(of_type(NT.BITS) | AUTH_RW | OWNER_RW)
EXTEND = Area(of_type(NT.EXTEND) | AUTH_RW | OWNER_RW, 32)
PIN_PASS = Area(of_type(NT.PIN_PASS) | OWNER_RW | TPMA_NV.AUTHREAD)
PIN_FAIL = Area(of_type(NT.PIN_FAIL) | OWNER_RW | TPMA_NV.AUTHREAD | TPMA_NV.NO_DA)
