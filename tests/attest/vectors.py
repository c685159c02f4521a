"""Evidence of other projects, read where it lies: VTPMD_VECTORS says where that is.

What they are: README.md there. Nothing of vtpmd takes part in taking them apart.
"""

import base64
import json
import struct
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.recorded import VECTORS

present = pytest.mark.skipif(not VECTORS.is_dir(), reason="the vectors are not here")


@dataclass(frozen=True)
class Recorded:
    """A quote with all that belongs to it; values in the order of the quote."""

    key: bytes
    message: bytes
    signature: bytes
    nonce: bytes
    pcrs: bytes
    log: bytes | None = None
    unlogged: frozenset[int] = frozenset()
    """PCRs that its log does not explain."""


def azure() -> dict[str, Recorded]:
    """Of confidential machines in Azure, kept in different ways."""
    directory, others = VECTORS / "azure-cvm-tooling", VECTORS / "trustee/az-snp-vtpm"
    key = (directory / "akpub.pem").read_bytes()
    found = {"azure": _bincode((directory / "quote.bin").read_bytes(), key)}
    key = _hcl_key((others / "hcl-report.bin").read_bytes())
    found["trustee"] = _bincode((others / "quote.bin").read_bytes(), key)
    for name in ("v0", "genoa"):
        content = json.loads((others / f"evidence-{name}.json").read_text())
        quote = content["quote"]
        found[f"trustee-{name}"] = Recorded(
            _hcl_key(bytes(content["report"])),
            bytes(quote["message"]),
            bytes(quote["signature"]),
            nonce_in(bytes(quote["message"])),
            b"".join(map(bytes, quote["pcrs"])),
        )
    return found


def _bincode(octets: bytes, key: bytes) -> Recorded:
    """Rust's bincode: vectors behind their length, and the values in a row."""
    signature, octets = _vector(octets)
    message, octets = _vector(octets)
    return Recorded(key, message, signature, b"challenge", octets[8:])


def _vector(octets: bytes) -> tuple[bytes, bytes]:
    (size,) = struct.unpack_from("<Q", octets)
    return octets[8 : 8 + size], octets[8 + size :]


def _hcl_key(report: bytes) -> bytes:
    """The attestation key in the JSON behind a report."""
    text = report[report.index(b'{"keys"') :].rstrip(b"\0")
    (jwk,) = (each for each in json.loads(text)["keys"] if each["kid"] == "HCLAkPub")
    e, n = (int.from_bytes(base64.urlsafe_b64decode(jwk[part] + "==")) for part in ("e", "n"))
    key = rsa.RSAPublicNumbers(e, n).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def kbs() -> Recorded:
    """Of a TPM behind trustee's own driver: a TPMT_SIGNATURE, and values of all PCRs."""
    content = json.loads((VECTORS / "trustee/tpm_evidence.json").read_text())
    quote = content["tpm_quote"]
    lines = "\n".join(textwrap.wrap(content["ak_public"], 64))
    key = f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"
    message, signature = (base64.b64decode(quote[part]) for part in ("message", "signature"))
    pcrs = json.dumps({"sha256": dict(enumerate(quote["pcrs"]))}).encode()
    return Recorded(key.encode(), message, signature, nonce_in(message), pcrs)


def nonce_in(message: bytes) -> bytes:
    """The nonce, which nothing tells but the quote: it follows the signer's Name."""
    signer = 6 + 2 + int.from_bytes(message[6:8])
    return message[signer + 2 : signer + 2 + int.from_bytes(message[signer : signer + 2])]


def windows() -> Recorded:
    """Of a shielded machine with Windows, all in SHA-1 (JSON of go-attestation)."""
    path = VECTORS / "go-attestation/windows_gcp_shielded_vm.json"
    content = json.loads(path.read_text())
    quote, log = content["Quote"], content["Log"]
    values = {pcr["Index"]: base64.b64decode(pcr["Digest"]) for pcr in log["PCRs"]}
    return Recorded(
        base64.b64decode(content["AK"]["Public"]),
        base64.b64decode(quote["Quote"]),
        base64.b64decode(quote["Signature"]),
        b"",
        b"".join(values[index] for index in sorted(values)),
        base64.b64decode(log["Raw"]),
    )


def gce() -> dict[str, Recorded]:
    """Three quotes of one machine, a bank each (protocol buffers)."""
    path = VECTORS / "go-tpm-tools/gce-cos-85-nonce9009.pb"
    fields = list(_protocol(path.read_bytes()))
    (key,) = (value for number, value in fields if number == 1)
    (log,) = (value for number, value in fields if number == 3)
    found = {}
    for number, quote in fields:
        if number != 2:
            continue
        parts = dict(_protocol(quote))
        values = {}
        bank = 0
        for kind, value in _protocol(parts[3]):
            if kind == 1:
                bank = value
            else:
                pair = dict(_protocol(value))
                values[pair.get(1, 0)] = pair[2]
        pcrs = b"".join(values[index] for index in sorted(values))
        name = {4: "sha1", 0xB: "sha256", 0xC: "sha384"}[bank]
        nonce = bytes.fromhex("9009")
        ima = frozenset({10})
        found[f"gce-{name}"] = Recorded(key, parts[1], parts[2], nonce, pcrs, log, ima)
    return found


def _protocol(octets: bytes) -> Any:
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            octet = octets[at]
            at += 1
            value |= (octet & 0x7F) << shift
            shift += 7
            if not octet & 0x80:
                return value

    while at < len(octets):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
        else:
            size = number()
            yield tag >> 3, octets[at : at + size]
            at += size


def quotes() -> dict[str, Recorded]:
    """Every quote."""
    if not VECTORS.is_dir():
        return {}
    return {**azure(), **gce(), "kbs": kbs(), "windows": windows()}


def logs() -> list[Path]:
    """Every event log."""
    files = [
        *VECTORS.glob("tpm2-tools/event-*.bin"),
        *VECTORS.glob("go-tpm-tools/eventlogs/*.bin"),
        *VECTORS.glob("go-attestation/*_eventlog"),
    ]
    return sorted(files)


@dataclass(frozen=True)
class Logged:
    """One event of a log, as octets; `digests` by hash algorithm say where in them each is."""

    pcr: int
    type: int
    octets: bytes
    digests: dict[int, slice]


def taken_apart(log: bytes) -> tuple[bytes, list[Logged]]:
    """A log's first event if it announces banks, else nothing, and all others."""
    size = 32 + int.from_bytes(log[28:32], "little")
    if not log[32:].startswith(b"Spec ID Event03"):
        return b"", list(_old_events(log))
    count = int.from_bytes(log[56:60], "little")
    sizes = dict(struct.unpack_from("<HH", log, 60 + 4 * bank) for bank in range(count))
    return log[:size], list(_agile_events(log[size:], sizes))


def _old_events(log: bytes) -> Iterator[Logged]:
    at = 0
    while at < len(log):
        pcr, type_ = struct.unpack_from("<II", log, at)
        end = at + 32 + int.from_bytes(log[at + 28 : at + 32], "little")
        yield Logged(pcr, type_, log[at:end], {0x4: slice(8, 28)})
        at = end


def _agile_events(log: bytes, sizes: dict[int, int]) -> Iterator[Logged]:
    at = 0
    while at < len(log):
        pcr, type_, count = struct.unpack_from("<III", log, at)
        digests, end = {}, at + 12
        for _ in range(count):
            (alg,) = struct.unpack_from("<H", log, end)
            digests[alg] = slice(end + 2 - at, end + 2 + sizes[alg] - at)
            end += 2 + sizes[alg]
        end += 4 + int.from_bytes(log[end : end + 4], "little")
        yield Logged(pcr, type_, log[at:end], digests)
        at = end


def expected(log: Path) -> dict[str, dict[int, bytes]]:
    """The PCR values that go with a log; none for most."""
    beside = log.with_name(f"{log.name}.yaml")
    if not beside.exists():
        return {}
    banks = yaml.safe_load(beside.read_text()).get("pcrs") or {}
    sizes = {"sha1": 20, "sha256": 32, "sha384": 48}
    return {
        bank: {index: value.to_bytes(sizes[bank]) for index, value in values.items()}
        for bank, values in banks.items()
    }
