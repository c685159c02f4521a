"""What a worker that fails says of it."""

from vtpmd.worker import process


def test_the_text_of_an_unexpected_exception_is_kept_back() -> None:
    """It may hold a secret: only its type and its frames are told."""
    try:
        raise KeyError("a secret")
    except KeyError as error:
        kind, reason = process._judge(error)
    assert kind == "defect"
    assert "a secret" not in reason
    assert reason.startswith("KeyError at ")
    assert "test_process.py" in reason
