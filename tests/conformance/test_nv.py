"""NV indexes of every kind: what is written is read, to whom, and how often."""

import hashlib

import pytest

from tests.conformance.tools import Tools

INDEX = "0x01500010"
RC_NV_LOCKED = 0x148
RC_NV_AUTHORIZATION = 0x149
RC_NV_UNINITIALIZED = 0x14A
RC_NV_RANGE = 0x146
RC_NV_DEFINED = 0x14C
RC_HANDLE_OF_FIRST = 0x18B
RC_AUTH_FAIL_OF_FIRST_SESSION = 0x98E
RC_BAD_AUTH_OF_FIRST_SESSION = 0x9A2


def test_what_is_written_is_read(tools: Tools) -> None:
    content = bytes(range(256)) * 4
    tools.write("content", content)
    tools(f"nvdefine -Q -C o -s {len(content)} {INDEX}")
    tools(f"nvwrite -Q -C o -i content {INDEX}")
    assert tools(f"nvread -C o {INDEX}") == content
    assert tools(f"nvread -C o -s 16 --offset 100 {INDEX}") == content[100:116]
    tools(f"nvwrite -Q -C o -i - --offset 1000 {INDEX}", given=b"written")
    assert tools(f"nvread -C o {INDEX}") == content[:1000] + b"written" + content[1007:]


def test_an_index_is_listed_until_it_is_undefined(tools: Tools) -> None:
    tools(f"nvdefine -Q -C o -s 8 -a ownerread|ownerwrite {INDEX}")
    tools.refused(RC_NV_DEFINED, f"nvdefine -Q -C o -s 8 {INDEX}")
    public = tools.text("nvreadpublic")
    assert INDEX[2:].lstrip("0") in public
    assert "ownerwrite|ownerread" in public
    tools(f"nvundefine -Q -C o {INDEX}")
    assert INDEX[2:].lstrip("0") not in tools.text("nvreadpublic")
    tools.refused(RC_HANDLE_OF_FIRST, f"nvreadpublic {INDEX}")


def test_nothing_is_read_before_it_is_written(tools: Tools) -> None:
    tools(f"nvdefine -Q -C o -s 8 {INDEX}")
    tools.refused(RC_NV_UNINITIALIZED, f"nvread -C o -s 8 {INDEX}")


def test_writing_beyond_the_end_is_refused(tools: Tools) -> None:
    tools(f"nvdefine -Q -C o -s 8 {INDEX}")
    tools(f"nvwrite -Q -C o -i - {INDEX}", given=b"12345678")
    with pytest.raises(AssertionError):
        tools(f"nvwrite -Q -C o -i - --offset 4 {INDEX}", given=b"12345678")
    assert tools(f"nvread -C o -s 8 {INDEX}") == b"12345678"


def test_the_authorization_value_is_asked_for(tools: Tools) -> None:
    tools(f"nvdefine -Q -C o -s 8 -a authread|authwrite|no_da -p secret {INDEX}")
    tools(f"nvwrite -Q -C {INDEX} -P secret -i - {INDEX}", given=b"12345678")
    assert tools(f"nvread -C {INDEX} -P secret {INDEX}") == b"12345678"
    tools.refused(RC_BAD_AUTH_OF_FIRST_SESSION, f"nvread -C {INDEX} -P wrong {INDEX}")
    tools.refused(RC_NV_AUTHORIZATION, f"nvread -C o {INDEX}")


def test_a_wrong_value_counts_against_the_dictionary_attack(tools: Tools) -> None:
    tools(f"nvdefine -Q -C o -s 8 -a authread|authwrite -p secret {INDEX}")
    tools(f"nvwrite -Q -C {INDEX} -P secret -i - {INDEX}", given=b"12345678")
    tools.refused(RC_AUTH_FAIL_OF_FIRST_SESSION, f"nvread -C {INDEX} -P wrong {INDEX}")
    assert "TPM2_PT_LOCKOUT_COUNTER: 0x1" in tools.text("getcap properties-variable")


def test_a_counter_only_goes_up(tools: Tools) -> None:
    tools(f"nvdefine -Q -C o -s 8 -a ownerread|ownerwrite|nt=counter {INDEX}")
    values = []
    for _ in range(3):
        tools(f"nvincrement -Q -C o {INDEX}")
        values.append(int.from_bytes(tools(f"nvread -C o {INDEX}"), "big"))
    assert values == [values[0], values[0] + 1, values[0] + 2]
    tools(f"nvundefine -Q -C o {INDEX}")
    tools(f"nvdefine -Q -C o -s 8 -a ownerread|ownerwrite|nt=counter {INDEX}")
    tools(f"nvincrement -Q -C o {INDEX}")
    assert int.from_bytes(tools(f"nvread -C o {INDEX}"), "big") > values[-1]


def test_bits_are_only_set(tools: Tools) -> None:
    tools(f"nvdefine -Q -C o -s 8 -a ownerread|ownerwrite|nt=bits {INDEX}")
    for bits, expected in ((0x5, 0x5), (0x0F00000000000002, 0x0F00000000000007), (0, None)):
        tools(f"nvsetbits -Q -C o -i {bits:#x} {INDEX}")
        if expected is not None:
            assert tools(f"nvread -C o {INDEX}") == expected.to_bytes(8, "big")


def test_an_extended_index_hashes_what_it_is_given(tools: Tools) -> None:
    tools(f"nvdefine -Q -C o -g sha256 -a ownerread|ownerwrite|nt=extend {INDEX}")
    value = bytes(32)
    for data in (b"first", b"second"):
        tools(f"nvextend -Q -C o -i - {INDEX}", given=data)
        value = hashlib.sha256(value + data).digest()
        assert tools(f"nvread -C o {INDEX}") == value


def test_a_read_lock_lasts_until_the_next_start(tools: Tools) -> None:
    tools(f"nvdefine -Q -C o -s 8 -a ownerread|ownerwrite|read_stclear {INDEX}")
    tools(f"nvwrite -Q -C o -i - {INDEX}", given=b"12345678")
    tools(f"nvreadlock -Q -C o {INDEX}")
    tools.refused(RC_NV_LOCKED, f"nvread -C o {INDEX}")
    tools("shutdown -c")
    tools.restart()
    assert tools(f"nvread -C o {INDEX}") == b"12345678"


def test_a_write_lock_is_for_good(tools: Tools) -> None:
    tools(f"nvdefine -Q -C o -s 8 -a ownerread|ownerwrite|writedefine {INDEX}")
    tools(f"nvwrite -Q -C o -i - {INDEX}", given=b"12345678")
    tools(f"nvwritelock -Q -C o {INDEX}")
    tools.refused(RC_NV_LOCKED, f"nvwrite -Q -C o -i - {INDEX}", given=b"87654321")
    tools.restart()
    tools.refused(RC_NV_LOCKED, f"nvwrite -Q -C o -i - {INDEX}", given=b"87654321")
    assert tools(f"nvread -C o {INDEX}") == b"12345678"


def test_an_index_under_a_policy_needs_it(tools: Tools) -> None:
    tools.policy("policypcr -l sha256:16")
    tools(f"nvdefine -Q -C o -s 8 -L policy -a policyread|policywrite {INDEX}")
    tools(f"nvwrite -Q -C {INDEX} -P pcr:sha256:16 -i - {INDEX}", given=b"12345678")
    assert tools(f"nvread -C {INDEX} -P pcr:sha256:16 {INDEX}") == b"12345678"
    tools(f"pcrextend 16:sha256={'11' * 32}")
    tools.refused(0x99D, f"nvread -C {INDEX} -P pcr:sha256:16 {INDEX}")


def test_the_authorization_value_of_an_index_can_be_changed(tools: Tools) -> None:
    tools.policy("policycommandcode TPM2_CC_NV_ChangeAuth")
    tools(f"nvdefine -Q -C o -s 8 -p old -L policy -a authread|authwrite|no_da {INDEX}")
    tools(f"nvwrite -Q -C {INDEX} -P old -i - {INDEX}", given=b"12345678")
    session = tools.satisfied("policycommandcode TPM2_CC_NV_ChangeAuth")
    tools(f"changeauth -Q -c {INDEX} -p session:{session} new")
    assert tools(f"nvread -C {INDEX} -P new {INDEX}") == b"12345678"
    tools.refused(RC_BAD_AUTH_OF_FIRST_SESSION, f"nvread -C {INDEX} -P old {INDEX}")


def test_indexes_outlive_a_restart_of_the_server(tools: Tools) -> None:
    tools(f"nvdefine -Q -C o -s 8 {INDEX}")
    tools(f"nvwrite -Q -C o -i - {INDEX}", given=b"12345678")
    tools.restart_server()
    assert tools(f"nvread -C o {INDEX}") == b"12345678"
