"""Every operation that is measured does what it is measured for."""

import pytest

from tests.bench import post_quantum


def test_every_operation_succeeds_on_both_sides() -> None:
    names = []
    for row in post_quantum.rows():
        assert post_quantum.milliseconds(row.ours, 1) >= 0
        assert post_quantum.milliseconds(row.library, 1) >= 0
        names.append(row.name)
    kem = {f"MLKEM_{bits} {done}" for bits in (768, 1024) for done in KEM}
    signing = {f"MLDSA_{name} {done}" for name in (44, 65, 87) for done in SIGNING}
    assert set(names) == {"Create of data"} | kem | signing


KEM = ("Create", "Encapsulate", "Decapsulate")
SIGNING = ("Create", "SignDigest", "VerifyDigestSignature")


def test_a_table_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["post_quantum", "--rounds", "1"])
    post_quantum.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1 + 15
    assert lines[0].split() == ["vtpmd", "ms", "alone", "ms", "multiple"]
