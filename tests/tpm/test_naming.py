"""Names for people: the specification's, with the position that Part 2, 6.6.2 describes."""

import pytest

from vtpmd.tpm.engine import command_name, response_name


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0x000, "TPM_RC_SUCCESS"),
        (0x101, "TPM_RC_FAILURE"),
        (0x14C, "TPM_RC_NV_DEFINED"),
        (0x2C4, "TPM_RC_VALUE (parameter 2)"),
        (0xFDA, "TPM_RC_INSUFFICIENT (parameter 15)"),
        (0x18B, "TPM_RC_HANDLE (handle 1)"),
        (0x98E, "TPM_RC_AUTH_FAIL (session 1)"),
        (0x08E, "TPM_RC_AUTH_FAIL"),
        (0x921, "TPM_RC_LOCKOUT"),
        (0x107, "TPM_RC 0x107"),
        (0xFFFFFFFF, "TPM_RC 0xffffffff"),
    ],
)
def test_response_codes(code: int, name: str) -> None:
    assert response_name(code) == name


def test_commands() -> None:
    assert command_name(0x131) == "TPM_CC_CREATE_PRIMARY"
    assert command_name(0x20001000) == "TPM_CC 0x20001000"
