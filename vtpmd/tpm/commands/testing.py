"""Part 3, chapter 10: Testing.

OpenSSL and GMP, which provide the algorithms, test themselves when they are loaded; a process in
which that fails never runs a command. So nothing is ever left to test.
"""

from ..command import command
from ..rc import RC, TpmError
from ..state import Tpm
from ..wire.base import TPM2B_MAX_BUFFER, TPML_ALG
from ..wire.constants import CC
from ..wire.interface import TPMI_YES_NO, UINT32
from ..wire.structure import Structure


class IncrementalSelfTestResponse(Structure):
    to_do_list: TPML_ALG


class GetTestResultResponse(Structure):
    out_data: TPM2B_MAX_BUFFER
    test_result: UINT32


@command(CC.SELF_TEST, nv=True, keeps_orderly=True)
def self_test(tpm: Tpm, /, full_test: TPMI_YES_NO) -> None:
    """Test what has not been tested yet, or everything (10.2)."""


@command(CC.INCREMENTAL_SELF_TEST, nv=True, keeps_orderly=True)
def incremental_self_test(tpm: Tpm, /, to_test: TPML_ALG) -> IncrementalSelfTestResponse:
    """Test some algorithms and return those still untested (10.3)."""
    if not tpm.profile.algorithms.issuperset(to_test):
        raise TpmError(RC.VALUE, at="to_test")
    return IncrementalSelfTestResponse([])


@command(CC.GET_TEST_RESULT, keeps_orderly=True, in_failure_mode=True)
def get_test_result(tpm: Tpm, /) -> GetTestResultResponse:
    """Return the result of the tests, in failure mode too (10.4)."""
    return GetTestResultResponse(b"", RC.FAILURE if tpm.failed else RC.SUCCESS)
