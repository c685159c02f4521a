"""Structures as records: construction, comparison, display, and how they are declared."""

import copy
import linecache
import traceback
from typing import Annotated

import pytest

from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire.algorithms import (
    TPMS_SENSITIVE_CREATE,
    TPMT_SIG_SCHEME,
    TPMT_SIG_SCHEME_NULL,
)
from vtpmd.tpm.wire.base import TPMS_AUTH_COMMAND, TPMT_HA
from vtpmd.tpm.wire.constants import ALG, RH
from vtpmd.tpm.wire.objects import TPM2B_SENSITIVE, TPMT_SENSITIVE
from vtpmd.tpm.wire.structure import Structure, UInt, kind_of, parse, reader, writer

from .declarations import PROFILE, STRUCTURES


def test_fields_are_positional_or_by_name() -> None:
    assert TPMT_HA(ALG.SHA1, bytes(20)) == TPMT_HA(digest=bytes(20), hash_alg=4)


def test_missing_and_surplus_fields_are_refused() -> None:
    with pytest.raises(TypeError, match="digest"):
        TPMT_HA(ALG.SHA1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="other"):
        TPMT_HA(ALG.SHA1, b"", other=1)  # type: ignore[call-arg]


def test_records_are_mutable_but_have_no_other_attributes() -> None:
    digest = TPMT_HA(ALG.SHA1, bytes(20))
    digest.hash_alg = ALG.NULL
    assert digest == TPMT_HA(ALG.NULL, bytes(20))
    with pytest.raises(AttributeError):
        digest.size = 20  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="unhashable"):
        hash(digest)


def test_a_copy_is_equal_and_separate() -> None:
    digest = TPMT_HA(ALG.SHA1, bytes(20))
    other = copy.copy(digest)
    other.hash_alg = ALG.SHA256
    assert digest.hash_alg == ALG.SHA1


def test_structures_of_different_classes_differ() -> None:
    hmac, xor = STRUCTURES["TPMT_TK_CREATION"], STRUCTURES["TPMT_TK_HASHCHECK"]
    values = {"tag": 1, "hierarchy": 2, "digest": b""}
    assert hmac(**values) == hmac(**values)
    assert hmac(**values) != xor(**values)


def test_repr_names_fields() -> None:
    scheme = TPMT_SIG_SCHEME(ALG.NULL, None)
    assert repr(scheme) == f"TPMT_SIG_SCHEME(scheme={ALG.NULL!r}, details=None)"


@pytest.mark.parametrize(
    "secretive",
    [
        TPMS_AUTH_COMMAND(RH.RS_PW, b"nonce", 0, b"s3cret"),
        TPMS_SENSITIVE_CREATE(b"s3cret", b"s3cret"),
        TPMT_SENSITIVE(ALG.RSA, b"s3cret", b"s3cret", b"s3cret"),
        TPMT_SENSITIVE(ALG.ECC, b"s3cret", b"s3cret", bytearray(b"s3cret")),  # type: ignore[arg-type]
    ],
    ids=lambda structure: type(structure).__name__,
)
def test_repr_hides_secrets(secretive: Structure) -> None:
    assert "s3cret" not in repr(secretive)
    assert "<6 octets>" in repr(secretive)


def test_parse_wants_nothing_left_over() -> None:
    octets = TPMT_HA(ALG.SHA1, bytes(20)).marshal()
    assert TPMT_HA.parse(octets, PROFILE).digest == bytes(20)
    with pytest.raises(TpmError) as refused:
        TPMT_HA.parse(octets + b"\0", PROFILE)
    assert refused.value.code == RC.SIZE


def test_a_relaxed_use_gives_the_same_class() -> None:
    null = b"\x00\x10"
    assert parse(TPMT_SIG_SCHEME_NULL, null, PROFILE) == TPMT_SIG_SCHEME(ALG.NULL, None)
    with pytest.raises(TpmError) as refused:
        TPMT_SIG_SCHEME.parse(null, PROFILE)
    assert refused.value.code == RC.SCHEME


def test_an_optional_structure_may_be_absent() -> None:
    assert parse(TPM2B_SENSITIVE, b"\0\0", PROFILE) is None
    assert writer(TPM2B_SENSITIVE)(None) == b"\0\0"


def test_an_unknown_selector_is_a_defect_when_writing() -> None:
    with pytest.raises(KeyError):
        TPMT_SIG_SCHEME(ALG.AES, None).marshal()


def test_tracebacks_show_generated_code() -> None:
    with pytest.raises(TpmError) as refused:
        TPMT_HA.parse(b"\0\0", PROFILE)
    assert "raise TpmError(RC.HASH)" in "".join(traceback.format_exception(refused.value))
    assert "v_hash_alg" in "".join(linecache.getlines("<wire TPMT_HA>"))


def test_values_outside_structures_have_readers_and_writers() -> None:
    hint = Annotated[int, UInt(2)]
    assert writer(hint)(0x1234) == b"\x12\x34"
    assert reader(hint)(b"\xff\x12\x34", 1, PROFILE) == (0x1234, 3)
    assert writer(None)(None) == b""


@pytest.mark.parametrize("hint", [int, Annotated[int, "octets"], Structure | None])
def test_a_hint_without_layout_is_refused(hint: object) -> None:
    with pytest.raises(TypeError, match="does not say how it is laid out"):
        kind_of(hint)


def test_a_field_without_layout_is_refused_when_declared() -> None:
    with pytest.raises(TypeError, match="does not say how it is laid out"):

        class Careless(Structure):
            size: int


def test_every_structure_says_what_it_is() -> None:
    assert [name for name, of in STRUCTURES.items() if not of.__doc__] == []
