"""The file that `vtpmctl backup` writes: all of one instance, still encrypted.

A tar archive (POSIX ustar, not compressed) of regular files without directories::

    manifest.json   what is in the bundle, with the size and SHA-256 of every other file
    meta.json       the public metadata of the instance
    nvram           its sealed state, with the wrapped key: opens with the key provider only
    *.pem           its certificates, if it has any
    ledger          what the ledger knows of its TPM, if anything

The manifest begins with its format; what else a newer vtpmd writes into one of the same format is
ignored. Nothing is ever extracted to names from an archive: members are looked up by the names
above, and whatever else is there is refused. The hashes tell damage; forgery of the state is told
by its seal when it is opened, and metadata, certificates and ledger are public and not
authenticated: of a ledger's entries only what certificates prove is believed.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vtpmd import __version__
from vtpmd.encoding.moment import moment
from vtpmd.pki.entries import Entry, decode_all
from vtpmd.pki.entries import encode as encode_entry
from vtpmd.pki.errors import DamagedError
from vtpmd.storage.envelope import Envelope, parse
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.record import MAX_SIZE
from vtpmd.supervisor.instance_directory import META
from vtpmd.supervisor.metadata import MAX_PUBLIC_FILE, Metadata, MetadataError, demand_format
from vtpmd.supervisor.registry import CERTIFICATE_NAME, MAX_CERTIFICATES, Contents

FORMAT = 1
MANIFEST, NVRAM, LEDGER = "manifest.json", "nvram", "ledger"
MAX_LEDGER = 1 << 20
_MEMBER_OF_OTHERS = "it holds {name!r}, which does not belong into a backup"


class BundleError(Exception):
    """The bundle is refused; the text says why."""


@dataclass(frozen=True)
class Bundle:
    """One instance: metadata, sealed state (as bytes and parsed), certificates by file name.

    `ledger`: what the host that made the bundle knows of its TPM; `made`: when that was, if it is
    said.
    """

    metadata: Metadata
    nvram: bytes = field(repr=False)
    envelope: Envelope
    certificates: Mapping[str, bytes]
    ledger: Sequence[Entry] = ()
    made: datetime | None = None

    @property
    def contents(self) -> Contents:
        """What an instance that is made from it has."""
        return Contents(self.metadata.uuid, self.nvram, self.certificates)


def encode(
    metadata: Metadata,
    nvram: bytes,
    certificates: Mapping[str, bytes],
    ledger: Sequence[Entry] = (),
) -> bytes:
    """A bundle. Raises EnvelopeError if `nvram` is no sealed state: no backup is made of it."""
    envelope = parse(nvram)
    envelope.demand_instance(metadata.uuid)
    files = {META: metadata.encode(), NVRAM: nvram, **dict(sorted(certificates.items()))}
    if ledger:
        files[LEDGER] = b"".join(map(encode_entry, ledger))
    now = datetime.now(UTC)
    manifest = {
        "format": FORMAT,
        "created": now.isoformat(),
        "vtpmd": __version__,
        "uuid": str(metadata.uuid),
        "name": metadata.name,
        "generation": envelope.header.generation,
        "keys": [
            {
                "provider": slot.provider,
                "type": slot.provider_type,
                "key_ref": slot.key_ref,
                "key_version": slot.key_version,
                "purpose": slot.purpose,
            }
            for slot in envelope.slots
        ],
        "files": {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in {MANIFEST: json.dumps(manifest, indent=2).encode(), **files}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o600, int(now.timestamp())
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def decode(data: bytes) -> Bundle:
    """Read a bundle, taking nothing in it for granted. Raises BundleError."""
    files = _members(data)
    manifest = _manifest(files.pop(MANIFEST, None))
    if NVRAM not in files:
        raise BundleError("it holds no TPM state (nvram): there is nothing to restore")
    _check_hashes(manifest, files)
    try:
        metadata = Metadata.decode(files.pop(META, b""))
        envelope = parse(nvram := files.pop(NVRAM))
        envelope.demand_instance(metadata.uuid)
        ledger = decode_all(files.pop(LEDGER, b""), LEDGER)
    except (MetadataError, EnvelopeError, DamagedError) as error:
        raise BundleError(str(error)) from None
    if envelope.header.kind != "permanent":
        raise BundleError(f"it holds {envelope.header.kind} state, not a TPM's permanent one")
    return Bundle(metadata, nvram, envelope, files, ledger, _made(manifest))


def _members(data: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                if len(files) > MAX_CERTIFICATES + 4:
                    raise BundleError("it holds too many files")
                files[member.name] = _content(tar, member, files)
    except BundleError:
        raise
    except Exception as error:  # tarfile raises whatever malformed headers lead it to
        raise BundleError(f"it is not a tar archive ({type(error).__name__})") from None
    return files


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, seen: Mapping[str, bytes]) -> bytes:
    name = member.name
    limit = {NVRAM: MAX_SIZE, LEDGER: MAX_LEDGER}.get(name, MAX_PUBLIC_FILE)
    if name not in (MANIFEST, META, NVRAM, LEDGER) and not CERTIFICATE_NAME.fullmatch(name):
        raise BundleError(_MEMBER_OF_OTHERS.format(name=name[:80]))
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.pax_headers:
        raise BundleError(f"{name} in it is not a plain file")
    if name in seen:
        raise BundleError(f"it holds {name} twice")
    if member.size > limit:
        raise BundleError(f"{name} in it is larger than {limit} bytes")
    file = tar.extractfile(member)
    content = b"" if file is None else file.read(limit + 1)
    if len(content) != member.size:
        raise BundleError(f"it ends in the middle of {name}")
    return content


def _manifest(content: bytes | None) -> dict[str, Any]:
    if content is None:
        raise BundleError("it holds no manifest.json: it is not a backup of vtpmd")
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError):
        raise BundleError("its manifest.json is not JSON") from None
    if not isinstance(manifest, dict):
        raise BundleError("its manifest.json holds no object")
    demand_format(manifest, FORMAT, BundleError, "it")
    if not isinstance(manifest.get("files"), dict):
        raise BundleError("its manifest.json lists no files")
    return manifest


def _made(manifest: Mapping[str, Any]) -> datetime | None:
    try:
        return moment(manifest["created"])
    except (KeyError, ValueError):
        return None


def _check_hashes(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    listed = manifest["files"]
    if missing := sorted(listed.keys() - files.keys()):
        raise BundleError(f"{missing[0]} is missing in it")
    for name, content in files.items():
        wanted = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        entry = listed.get(name)
        if not isinstance(entry, dict) or {**entry, **wanted} != entry:
            raise BundleError(f"{name} in it is not what its manifest says: it is damaged")
