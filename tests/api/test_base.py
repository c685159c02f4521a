"""What all requests and reports can, as frozen dataclasses do."""

from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from vtpmd.api.schema import BackupRequest, Failure, RotateResult, StopRequest


def test_fields_are_given_by_name_and_have_defaults() -> None:
    assert StopRequest() == StopRequest(remember=True, force=False)
    assert asdict(StopRequest(force=True)) == {"remember": True, "force": True}
    with pytest.raises(TypeError, match="code, detail, nonsense"):
        Failure(name="a", nonsense=1)  # type: ignore[call-arg]


def test_nothing_changes_a_report() -> None:
    report = RotateResult(provider="local", key_version="1")
    with pytest.raises(FrozenInstanceError):
        report.provider = ""  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del report.provider
    assert replace(report, provider="other") == RotateResult(provider="other", key_version="1")


def test_reports_are_equal_whose_fields_are_whatever_else_was_sent() -> None:
    one, other = (RotateResult(provider="local", key_version="1") for _ in range(2))
    one.document["more"] = 1
    assert one == other
    assert hash(one) == hash(other)
    assert other.document == {}
    assert one != RotateResult(provider="local", key_version="2")
    assert StopRequest() != "stop"


def test_secrets_are_not_shown() -> None:
    assert repr(BackupRequest(passphrase="s3cret")) == "BackupRequest()"
    assert repr(StopRequest()) == "StopRequest(remember=True, force=False)"
