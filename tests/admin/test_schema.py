"""Requests as the daemon reads them: strict, and refused with words for people."""

import json
from dataclasses import MISSING, fields
from typing import Any
from uuid import UUID

import pytest

from tests.api.samples import REQUESTS, WHEN, filled
from vtpmd.admin.schema import CONSTRAINTS, parse, parse_query
from vtpmd.api import problems, schema
from vtpmd.api.codec import encode_request
from vtpmd.api.problems import OperationError

VALID: dict[str, Any] = {
    "pcr_banks": ("sha256", "sha384"),
    "profile": "fips-v1",
    "policy": "replace",
    "step": "cancel",
    "since": WHEN,
    "kinds": ("rsa-2048", "ecc-p384"),
    "mode": "0660",
}
UUID_TEXT = "7d1f2b30-8f2e-4a55-9a7c-0123456789ab"


def refusal(kind: type[schema.Request], body: bytes) -> str:
    with pytest.raises(OperationError) as refused:
        parse(kind, body)
    assert refused.value.problem is problems.INVALID
    return refused.value.detail


@pytest.mark.parametrize("kind", REQUESTS)
def test_what_a_client_sends_is_what_the_daemon_reads(kind: type[schema.Request]) -> None:
    sample = filled(kind)[0]
    wanted = kind(**vars(sample) | {k: v for k, v in VALID.items() if k in vars(sample)})
    assert parse(kind, json.dumps(encode_request(wanted)).encode()) == wanted


@pytest.mark.parametrize("kind", REQUESTS)
def test_what_is_left_out_has_its_default_and_nothing_unknown_passes(
    kind: type[schema.Request],
) -> None:
    needed = {each.name for each in fields(kind) if each.default is MISSING}
    document = {name: value for name, value in filled(kind)[1].items() if name in needed}
    read = parse(kind, json.dumps(document).encode())
    assert all(getattr(read, e.name) == e.default for e in fields(kind) if e.name not in needed)
    more = json.dumps(document | {"newer": 1}).encode()
    assert refusal(kind, more) == "newer: is not known here"
    missing = "; ".join(f"{name}: is missing" for name in document)
    assert not missing or refusal(kind, b"") == missing


def test_every_constraint_is_on_a_field() -> None:
    assert set(CONSTRAINTS) <= {each.name for kind in REQUESTS for each in fields(kind)}


@pytest.mark.parametrize(
    ("kind", "document", "text"),
    [
        (schema.CreateRequest, {"name": 1}, "name: Input should be a valid string"),
        (schema.CreateRequest, {"name": "a", "start": 1}, "start: Input should be a valid boolean"),
        (schema.CreateRequest, {"name": "a", "uuid": "x"}, "uuid: Input should be a valid UUID"),
        (
            schema.CreateRequest,
            {"name": "a", "pcr_banks": ["M"]},
            "pcr_banks.0: String should",
        ),
        (schema.CreateRequest, {"name": "a", "pcr_banks": []}, "pcr_banks: List should have"),
        (
            schema.CreateRequest,
            {"name": "a", "pcr_banks": ["sha1", "sha1"]},
            "pcr_banks: each may be named only once",
        ),
        (schema.CreateRequest, {"name": "a", "profile": "X"}, "profile: profiles have names"),
        (schema.SetRequest, {"mode": "0999"}, "mode: an octal mode such as"),
        (schema.SetRequest, {"mode": "1777"}, "mode: an octal mode such as"),
        (schema.SetRequest, {"mode": "0060"}, "mode: the owner must be able to"),
        (schema.SetRequest, {"mode": 432}, "mode: Input should be a valid string"),
        (schema.SetRequest, {"owner": "x" * 257}, "owner: String should have at most 256"),
        (schema.SetRequest, {"name": "b"}, "name: is not known here"),
        (schema.CloneRequest, {"name": "a", "policy": "x"}, "policy: Input should be 'copy' or"),
        (
            schema.RekeyRequest,
            {"since": "2026-07-01T12:00:00"},
            "since: Input should have time",
        ),
        (schema.StopRequest, [], "body: Input should be an object"),
    ],
)
def test_a_refusal_names_the_field(kind: type[schema.Request], document: object, text: str) -> None:
    assert refusal(kind, json.dumps(document).encode()).startswith(text)


@pytest.mark.parametrize(
    ("given", "read"), [("0660", "0660"), ("660", "0660"), ("0o600", "0600"), ("", "")]
)
def test_a_mode_is_octal_or_as_configured(given: str, read: str) -> None:
    body = json.dumps({"mode": given}).encode()
    assert parse(schema.SetRequest, body) == schema.SetRequest(mode=read)


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"name": "\\ud800"}', b"[" * 100_000])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert refusal(schema.CreateRequest, body).startswith("body: Invalid JSON")


def test_all_that_is_wrong_is_told_and_no_secret() -> None:
    text = refusal(schema.KeyImportRequest, b'{"backup": ["SECRET"], "passphrase": 4711}')
    assert text == "; ".join(
        f"{name}: Input should be a valid string" for name in ("backup", "passphrase")
    )


def test_a_query_is_read_as_strictly() -> None:
    assert parse_query(schema.RestoreRequest, "") == schema.RestoreRequest()
    read = parse_query(schema.RestoreRequest, "name=a%20b&replace=true")
    assert read == schema.RestoreRequest(name="a b", replace=True)
    for query, text in (
        ("replace=maybe", "replace: Input should be a valid boolean"),
        ("more=1", "more: is not known here"),
        ("&", "The query is not understood."),
    ):
        with pytest.raises(OperationError) as refused:
            parse_query(schema.RestoreRequest, query)
        assert refused.value.detail.startswith(text)


def test_values_have_the_declared_types() -> None:
    body = json.dumps({"name": "a", "uuid": UUID_TEXT, "pcr_banks": ["sha1"]}).encode()
    read = parse(schema.CreateRequest, body)
    assert (read.uuid, read.pcr_banks) == (UUID(UUID_TEXT), ("sha1",))
