"""Bundles: written and read back, and nothing but bundles read."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.supervisor.test_metadata import SAMPLE
from vtpmd.operations.bundle import BundleError, decode, encode
from vtpmd.storage.envelope import Header, seal
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.slot import Slot

DEK = bytes(32)
SLOT = Slot("local", "local", "kek", "1", "A256GCM", b"wrapped", 1)


def sealed(uuid: UUID = SAMPLE.uuid, kind: Any = "permanent") -> bytes:
    return seal(DEK, Header(uuid, 7, kind, bytes(16)), [SLOT], b"the state")


NVRAM = sealed()
PEM = {"ek-rsa.pem": b"-----BEGIN CERTIFICATE-----"}
BUNDLE = encode(SAMPLE, NVRAM, PEM)

Member = tuple[tarfile.TarInfo, bytes]


def members(bundle: bytes = BUNDLE) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(bundle)) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def archive(parts: list[Member], format: int = tarfile.USTAR_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for member, content in parts:
            if member.isreg():
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return file.getvalue()


def with_manifest(change: Callable[[dict[str, Any]], object]) -> bytes:
    parts = members()
    manifest = json.loads(parts[0][1])
    change(manifest)
    return archive([(parts[0][0], json.dumps(manifest).encode()), *parts[1:]])


def replaced(name: str, content: bytes) -> bytes:
    """The bundle with another file of this name, which the manifest agrees with."""
    parts = [(m, content if m.name == name else c) for m, c in members()]
    manifest = json.loads(parts[0][1])
    manifest["files"][name] = {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return archive([(parts[0][0], json.dumps(manifest).encode()), *parts[1:]])


def extra(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return archive([*members(), (member, b"x" if kind == tarfile.REGTYPE else b"")])


def test_what_is_written_is_read_back() -> None:
    bundle = decode(BUNDLE)
    assert (bundle.metadata, bundle.nvram, bundle.certificates) == (SAMPLE, NVRAM, PEM)
    assert bundle.envelope.header.generation == 7


def test_the_format_is_as_documented() -> None:
    """tar(1) and sha256sum(1) are enough to look into a bundle."""
    found = {member.name: (member, content) for member, content in members()}
    assert list(found) == ["manifest.json", "meta.json", "nvram", "ek-rsa.pem"]
    assert all(member.isreg() and member.mode == 0o600 for member, _ in found.values())
    manifest = json.loads(found["manifest.json"][1])
    assert (manifest["format"], manifest["uuid"]) == (1, str(SAMPLE.uuid))
    assert manifest["generation"] == 7
    assert manifest["keys"][0]["key_version"] == "1"
    for name, listed in manifest["files"].items():
        assert listed["sha256"] == hashlib.sha256(found[name][1]).hexdigest()


def test_no_bundle_is_made_of_what_cannot_be_restored() -> None:
    with pytest.raises(EnvelopeError):
        encode(SAMPLE, NVRAM[:-1], {})
    with pytest.raises(EnvelopeError):
        encode(SAMPLE, sealed(UUID(int=1)), {})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a tar archive"),
        (b"\0" * 10240, "no manifest"),
        (b"PK\x03\x04" + bytes(1000), "not a tar archive"),
        (BUNDLE[:700], "not a tar archive|middle of"),
        (archive(members()[1:]), "no manifest"),
        (archive([part for part in members() if part[0].name != "nvram"]), "no TPM state"),
        (archive([part for part in members() if part[0].name != "meta.json"]), "meta.json is miss"),
        (archive([part for part in members() if part[0].name != "ek-rsa.pem"]), "is missing"),
        (archive([*members(), members()[2]]), "twice"),
        (extra("../../etc/passwd"), "does not belong"),
        (extra("/etc/passwd"), "does not belong"),
        (extra("x/../nvram"), "does not belong"),
        (extra("./nvram"), "does not belong"),
        (extra("volatile"), "does not belong"),
        (extra("EK.pem"), "does not belong"),
        (extra("a.pem", tarfile.SYMTYPE, "/etc/shadow"), "not a plain file"),
        (extra("a.pem", tarfile.LNKTYPE, "nvram"), "not a plain file"),
        (extra("a.pem", tarfile.DIRTYPE), "not a plain file"),
        (extra("a.pem", tarfile.CHRTYPE), "not a plain file"),
        (extra("a.pem", tarfile.FIFOTYPE), "not a plain file"),
        (extra("a.pem"), "not what its manifest says"),
        (replaced("ek-rsa.pem", bytes((64 << 10) + 1)), "larger than"),
        (replaced("meta.json", b"{}"), "meta.json does not have format 1"),
        (replaced("nvram", NVRAM[:-1]), "truncated"),
        (replaced("nvram", sealed(UUID(int=1))), "belongs to instance"),
        (replaced("nvram", sealed(kind="volatile")), "not a TPM's permanent"),
        (with_manifest(lambda m: m.update(format=2)), "newer vtpmd"),
        (with_manifest(lambda m: m.pop("format")), "it does not have format 1"),
        (with_manifest(lambda m: m.update(files=[])), "lists no files"),
        (with_manifest(lambda m: m["files"].pop("nvram")), "not what its manifest says"),
        (with_manifest(lambda m: m["files"]["nvram"].update(size=1)), "not what its manifest"),
    ],
)  # fmt: skip
def test_what_is_no_bundle_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        decode(data)


def test_what_is_not_known_in_a_manifest_of_this_format_is_ignored() -> None:
    more = with_manifest(lambda m: m.update(origin="host1"))
    assert decode(more).metadata == SAMPLE
    more = with_manifest(lambda m: m["files"]["nvram"].update(sha512="x"))
    assert decode(more).nvram == NVRAM


def test_a_size_that_is_a_lie_costs_nothing() -> None:
    """A header that announces 8 GiB, and a sparse file that would be as large."""
    huge = bytearray(BUNDLE)
    huge[124:136] = b"77777777777\0"
    huge[148:156] = b" " * 8
    huge[148:156] = b"%06o\0 " % sum(huge[:512])
    with pytest.raises(BundleError):
        decode(bytes(huge))
    sparse = tarfile.TarInfo("a.pem")
    sparse.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(BundleError):
        decode(archive([*members(), (sparse, b"")], tarfile.GNU_FORMAT))


@given(st.data())
def test_no_change_goes_unnoticed_or_raises_anything_else(data: st.DataObject) -> None:
    changed = bytearray(BUNDLE)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(changed) - 1))
        changed[position] = data.draw(st.integers(0, 255))
    try:
        bundle = decode(bytes(changed))
    except BundleError:
        return
    assert (bundle.metadata, bundle.nvram, bundle.certificates) == (SAMPLE, NVRAM, PEM)
