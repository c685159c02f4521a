"""Octets that others made: EK templates, and the traffic of the tpm2-tss integration tests.

The templates are L-1 and L-2 of the TCG EK Credential Profile; the captures are joholl/tpmstream's.
"""

from typing import Any

import pytest

from tests import recorded
from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire import algorithms, base, context, interface, nv, objects
from vtpmd.tpm.wire.algorithms import (
    TPMS_ECC_POINT,
    TPMT_ECC_SCHEME,
    TPMT_KDF_SCHEME,
    TPMT_RSA_SCHEME,
    TPMT_SYM_DEF_OBJECT,
)
from vtpmd.tpm.wire.attributes import LOCALITY_ATTRIBUTES, TPMA_OBJECT
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, ST
from vtpmd.tpm.wire.objects import TPMS_ECC_PARMS, TPMS_RSA_PARMS, TPMT_PUBLIC
from vtpmd.tpm.wire.structure import parse, reader, writer

from .declarations import PROFILE

CAPTURES = recorded.captures()

# PolicySecret(TPM_RH_ENDORSEMENT)
POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
EK_ATTRIBUTES = (
    TPMA_OBJECT.FIXED_TPM
    | TPMA_OBJECT.FIXED_PARENT
    | TPMA_OBJECT.SENSITIVE_DATA_ORIGIN
    | TPMA_OBJECT.ADMIN_WITH_POLICY
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.DECRYPT
)
AES_128_CFB = TPMT_SYM_DEF_OBJECT(ALG.AES, 128, ALG.CFB)

L_1 = TPMT_PUBLIC(
    type=ALG.RSA,
    name_alg=ALG.SHA256,
    object_attributes=EK_ATTRIBUTES,
    auth_policy=POLICY,
    parameters=TPMS_RSA_PARMS(AES_128_CFB, TPMT_RSA_SCHEME(ALG.NULL, None), 2048, 0),
    unique=bytes(256),
)
L_1_OCTETS = bytes.fromhex(
    f"0001 000b 000300b2 0020 {POLICY.hex()} 0006 0080 0043 0010 0800 00000000 0100 {'00' * 256}"
)
L_2 = TPMT_PUBLIC(
    type=ALG.ECC,
    name_alg=ALG.SHA256,
    object_attributes=EK_ATTRIBUTES,
    auth_policy=POLICY,
    parameters=TPMS_ECC_PARMS(
        AES_128_CFB,
        TPMT_ECC_SCHEME(ALG.NULL, None),
        ECC_CURVE.NIST_P256,
        TPMT_KDF_SCHEME(ALG.NULL, None),
    ),
    unique=TPMS_ECC_POINT(bytes(32), bytes(32)),
)
L_2_OCTETS = bytes.fromhex(
    f"0023 000b 000300b2 0020 {POLICY.hex()} 0006 0080 0043 0010 0003 0010"
    f"0020 {'00' * 32} 0020 {'00' * 32}"
)


@pytest.mark.parametrize(("template", "octets"), [(L_1, L_1_OCTETS), (L_2, L_2_OCTETS)])
def test_ek_template(template: TPMT_PUBLIC, octets: bytes) -> None:
    assert template.marshal() == octets
    assert TPMT_PUBLIC.parse(octets, PROFILE) == template
    sized = len(octets).to_bytes(2) + octets
    assert parse(objects.TPM2B_PUBLIC, sized, PROFILE) == template


def test_ek_template_of_tpm2_tools() -> None:
    file = recorded.VECTORS / "tpm2-tools/ek-template-default.bin"
    if not file.exists():
        pytest.skip("no tpm2-tools vectors")
    assert TPMT_PUBLIC.parse(file.read_bytes(), PROFILE) == L_1


# Handles and parameters of commands (Part 3) whose parameters are more than a number or a digest.
COMMANDS: dict[int, tuple[int, tuple[Any, ...]]] = {
    CC.ACTIVATE_CREDENTIAL: (2, (objects.TPM2B_ID_OBJECT, algorithms.TPM2B_ENCRYPTED_SECRET)),
    CC.CERTIFY: (2, (base.TPM2B_DATA, algorithms.TPMT_SIG_SCHEME_NULL)),
    CC.CERTIFY_CREATION: (
        2,
        (
            base.TPM2B_DATA,
            base.TPM2B_DIGEST,
            algorithms.TPMT_SIG_SCHEME_NULL,
            base.TPMT_TK_CREATION,
        ),
    ),
    CC.CONTEXT_LOAD: (0, (context.TPMS_CONTEXT,)),
    CC.CREATE: (
        1,
        (
            algorithms.TPM2B_SENSITIVE_CREATE,
            objects.TPM2B_PUBLIC,
            base.TPM2B_DATA,
            base.TPML_PCR_SELECTION,
        ),
    ),
    CC.CREATE_PRIMARY: (
        1,
        (
            algorithms.TPM2B_SENSITIVE_CREATE,
            objects.TPM2B_PUBLIC,
            base.TPM2B_DATA,
            base.TPML_PCR_SELECTION,
        ),
    ),
    CC.CREATE_LOADED: (1, (algorithms.TPM2B_SENSITIVE_CREATE, objects.TPM2B_TEMPLATE)),
    CC.DUPLICATE: (2, (base.TPM2B_DATA, algorithms.TPMT_SYM_DEF_OBJECT_NULL)),
    CC.ENCRYPT_DECRYPT: (
        1,
        (
            interface.TPMI_YES_NO,
            interface.TPMI_ALG_CIPHER_MODE_NULL,
            base.TPM2B_IV,
            base.TPM2B_MAX_BUFFER,
        ),
    ),
    CC.IMPORT: (
        1,
        (
            base.TPM2B_DATA,
            objects.TPM2B_PUBLIC,
            objects.TPM2B_PRIVATE,
            algorithms.TPM2B_ENCRYPTED_SECRET,
            algorithms.TPMT_SYM_DEF_OBJECT_NULL,
        ),
    ),
    CC.LOAD: (1, (objects.TPM2B_PRIVATE, objects.TPM2B_PUBLIC)),
    CC.LOAD_EXTERNAL: (
        0,
        (objects.TPM2B_SENSITIVE, objects.TPM2B_PUBLIC_NULL, interface.TPMI_RH_HIERARCHY),
    ),
    CC.NV_DEFINE_SPACE: (1, (base.TPM2B_AUTH, nv.TPM2B_NV_PUBLIC)),
    CC.NV_WRITE: (2, (base.TPM2B_MAX_NV_BUFFER, interface.UINT16)),
    CC.PCR_EXTEND: (1, (base.TPML_DIGEST_VALUES,)),
    CC.PCR_READ: (0, (base.TPML_PCR_SELECTION,)),
    CC.POLICY_LOCALITY: (1, (LOCALITY_ATTRIBUTES,)),
    CC.POLICY_NV: (3, (base.TPM2B_OPERAND, interface.UINT16, interface.TPM_EO)),
    CC.POLICY_OR: (1, (base.TPML_DIGEST,)),
    CC.POLICY_PCR: (1, (base.TPM2B_DIGEST, base.TPML_PCR_SELECTION)),
    CC.POLICY_SIGNED: (
        2,
        (
            base.TPM2B_NONCE,
            base.TPM2B_DIGEST,
            base.TPM2B_NONCE,
            interface.INT32,
            algorithms.TPMT_SIGNATURE,
        ),
    ),
    CC.QUOTE: (1, (base.TPM2B_DATA, algorithms.TPMT_SIG_SCHEME_NULL, base.TPML_PCR_SELECTION)),
    CC.RSA_ENCRYPT: (
        1,
        (algorithms.TPM2B_PUBLIC_KEY_RSA, algorithms.TPMT_RSA_DECRYPT_NULL, base.TPM2B_DATA),
    ),
    CC.SIGN: (
        1,
        (base.TPM2B_DIGEST, algorithms.TPMT_SIG_SCHEME_NULL, base.TPMT_TK_HASHCHECK),
    ),
    CC.START_AUTH_SESSION: (
        2,
        (
            base.TPM2B_NONCE,
            algorithms.TPM2B_ENCRYPTED_SECRET,
            interface.TPM_SE,
            algorithms.TPMT_SYM_DEF_NULL,
            interface.TPMI_ALG_HASH,
        ),
    ),
    CC.VERIFY_SIGNATURE: (1, (base.TPM2B_DIGEST, algorithms.TPMT_SIGNATURE)),
}
ENCRYPTED_FIRST_PARAMETER = 0x20


def check_round_trip(hint: Any, octets: bytes, offset: int) -> int:
    value, end = reader(hint)(octets, offset, PROFILE)
    assert writer(hint)(value) == octets[offset:end]
    return int(end)


def check_command(command: bytes) -> None:
    handles, parameters = COMMANDS[int.from_bytes(command[6:10])]
    offset = 10 + 4 * handles
    if int.from_bytes(command[:2]) == ST.SESSIONS:
        end = offset + 4 + int.from_bytes(command[offset : offset + 4])
        offset += 4
        while offset < end:
            session, offset = base.TPMS_AUTH_COMMAND.unmarshal(command, offset, PROFILE)
            if session.session_attributes & ENCRYPTED_FIRST_PARAMETER:
                return
        assert offset == end
    for hint in parameters:
        offset = check_round_trip(hint, command, offset)
    assert offset == len(command)


@pytest.mark.skipif(not CAPTURES, reason="no captures")
def test_captured_commands() -> None:
    checked: set[int] = set()
    refused: list[tuple[str, int, int]] = []
    for name, commands in CAPTURES.items():
        for command in commands:
            code = int.from_bytes(command[6:10])
            if code in COMMANDS:
                try:
                    check_command(command)
                except TpmError as error:
                    refused.append((name, code, error.code))
                checked.add(code)
    # A test of tpm2-tss of how failures are reported: 0x7ffc is no handle of a session.
    assert refused == [("esys-create-fail.int", CC.CREATE, RC.VALUE)]
    assert checked == set(COMMANDS)
