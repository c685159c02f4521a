"""The documents of requests and reports: what is written, and what is read of a stranger's."""

import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.samples import REPORTS, REQUESTS, filled
from vtpmd.api import schema
from vtpmd.api.codec import ReportError, declared, decode, encode_report, encode_request

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_is_written_and_read_back(kind: type[schema.Report]) -> None:
    report, document = filled(kind)
    assert encode_report(report) == document
    assert decode(kind, json.loads(json.dumps(document))) == report


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_says_what_is_not_default(kind: type[schema.Request]) -> None:
    request, document = filled(kind)
    defaults = {each.name: each.default for each in fields(request)}
    differing = {name: document[name] for name in document if document[name] != defaults[name]}
    assert encode_request(request) == differing


def test_a_request_without_fields_is_empty() -> None:
    assert encode_request(schema.RekeyRequest()) == {}
    assert encode_request(schema.StopRequest(remember=False)) == {"remember": False}


@pytest.mark.parametrize("kind", REPORTS)
def test_unknown_fields_of_a_newer_daemon_are_ignored(kind: type[schema.Report]) -> None:
    report, document = filled(kind)
    more = _with_more(document)
    assert decode(kind, more) == report
    assert decode(kind, more).document == more
    assert report.document == {}


def _with_more(document: Any) -> Any:
    """A document in which each report at any depth has one more field."""
    if isinstance(document, list):
        return [_with_more(each) for each in document]
    if not isinstance(document, dict) or not _is_report(document):
        return document
    return {name: _with_more(value) for name, value in document.items()} | {"newer": [1]}


def _is_report(document: dict[str, Any]) -> bool:
    return any(document.keys() == {each.name for each in declared(kind)} for kind in REPORTS)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, each.name) for kind in REPORTS for each in declared(kind)]
)
def test_a_field_that_an_older_daemon_lacks_has_a_default(
    kind: type[schema.Report], name: str
) -> None:
    report, document = filled(kind)
    del document[name]
    read = decode(kind, document)
    others = [each.name for each in declared(kind) if each.name != name]
    assert [getattr(read, other) for other in others] == [
        getattr(report, other) for other in others
    ]
    assert not getattr(read, name) or getattr(read, name) in (
        UUID(int=0),
        datetime.fromtimestamp(0, UTC),
    )


@pytest.mark.parametrize(
    ("kind", "name", "value", "text"),
    [
        (schema.InstanceInfo, "name", 1, "name: str is expected"),
        (schema.InstanceInfo, "autostart", 1, "autostart: bool is expected"),
        (schema.InstanceInfo, "uuid", "7", "uuid: a UUID is expected"),
        (schema.InstanceInfo, "since", "now", "since: a time with its zone is expected"),
        (schema.InstanceInfo, "since", "2026-07-01T12:30:15", "since: a time with its zone"),
        (schema.InstanceInfo, "pcr_banks", "sha1", "pcr_banks: list is expected"),
        (schema.InstanceInfo, "pcr_banks", [1], "pcr_banks: str is expected"),
        (schema.InstanceInfo, "keys", [{"provider": None}], "keys: provider: str is expected"),
        (schema.InstanceInfo, "worker", [], "worker: it is not an object"),
        (schema.WorkerInfo, "pid", True, "pid: int is expected"),
        (schema.WorkerInfo, "pid", 1.0, "pid: int is expected"),
        (schema.Digests, "banks", {"sha1": {"x": "00"}}, "banks: a number is expected as key"),
        (schema.Digests, "banks", {"sha1": {"²": "00"}}, "banks: a number is expected as key"),
        (schema.Digests, "banks", {"sha1": {"9" * 10: ""}}, "banks: a number is expected as key"),
    ],
)
def test_a_field_of_another_type_is_refused(
    kind: type[schema.Report], name: str, value: object, text: str
) -> None:
    with pytest.raises(ReportError) as refused:
        decode(kind, filled(kind)[1] | {name: value})
    assert str(refused.value).startswith(text)


@given(ANY_JSON, st.data())
def test_whatever_is_read_has_the_declared_types(value: object, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(REPORTS))
    report, document = filled(kind)
    name = data.draw(st.sampled_from(sorted(document)))
    try:
        read = decode(kind, document | {name: value})
    except ReportError:
        return
    declared = {type(getattr(report, name)), type(None)}
    assert type(getattr(read, name)) in declared


def test_no_secret_is_in_a_repr() -> None:
    shown = repr(schema.BackupRequest(passphrase="PASS"))
    shown += repr(schema.KeyImportRequest(backup="KEYS", passphrase="PASS"))
    assert "PASS" not in shown
    assert "KEYS" not in shown
