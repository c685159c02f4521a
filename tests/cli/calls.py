"""Every verb of vtpmctl with arguments, and what the daemon answers it."""

import base64
import json
from typing import Any

from tests.api.samples import filled
from vtpmd.api import schema
from vtpmd.cli.verbs.export import FORMAT, VERSION

TEMPLATE = {VERSION: FORMAT, "profile": "fips-v1", "pcr_banks": ["sha256"], "data_socket": True}


def answer(kind: Any) -> Any:
    """The document of a report with a sample in each field."""
    return filled(kind)[1]


INFO, REKEYED = answer(schema.InstanceInfo), answer(schema.RekeyResult)
EK = answer(schema.EkInfo)
LIST = {"instances": [INFO]}
KEYRING = answer(schema.KeyringBackup) | {"backup": base64.b64encode(b"keys").decode()}
# Arguments -> answers, one for each request. OUT is a file to write, BUNDLE and TEMPLATE are read;
# FD is a descriptor with a passphrase.
CALLS: dict[tuple[str, ...], list[Any]] = {
    ("create", "a"): [INFO],
    ("create", "--incoming", "--ticket", "BUNDLE"): [INFO],
    ("list",): [LIST],
    ("info", "a"): [INFO],
    ("start", "a"): [INFO],
    ("start", "--all"): [{"instances": [INFO | {"state": "stopped"}]}, INFO],
    ("stop", "a"): [INFO],
    ("stop", "--all"): [LIST, INFO],
    ("set", "a", "--owner", "b"): [INFO],
    ("rename", "a", "b"): [INFO],
    ("unlock", "a"): [INFO],
    ("unlock", "--all"): [answer(schema.UnlockResult)],
    ("upgrade", "a"): [answer(schema.Upgraded)],
    ("upgrade", "--all"): [answer(schema.UpgradeResult)],
    ("rekey", "a"): [REKEYED],
    ("da-reset", "a"): [answer(schema.LockoutResult)],
    ("migrate", "a"): [INFO],
    ("migrate", "a", "--ticket", "OUT"): [b"ticket", INFO],
    ("migrate-check", "--ticket", "BUNDLE"): [answer(schema.MigrateCheck)],
    ("take-back", "a", "--yes"): [INFO],
    ("accept-rollback", "a", "--yes"): [INFO],
    ("rekey", "--all"): [LIST, REKEYED],
    ("backup", "a", "OUT"): [b"bundle"],
    ("restore", "BUNDLE"): [INFO],
    ("snapshot", "create", "a"): [answer(schema.SnapshotInfo)],
    ("snapshot", "list", "a"): [answer(schema.SnapshotList)],
    ("snapshot", "restore", "a", "s"): [INFO],
    ("snapshot", "delete", "a", "s"): [b""],
    ("clone", "a", "b"): [INFO],
    ("export", "--without-secrets", "a", "OUT"): [INFO],
    ("import", "TEMPLATE", "a"): [INFO],
    ("delete", "a", "--yes"): [answer(schema.Deletion)],
    ("qemu-args", "a"): [INFO | {"control_socket": "/run/a"}],
    ("libvirt-xml", "a"): [INFO],
    ("pcr", "a"): [answer(schema.Digests)],
    ("ek", "show", "a"): [EK],
    ("ek", "csr", "a"): [answer(schema.EkRequests)],
    ("ek", "import", "a", "BUNDLE"): [EK],
    ("ek", "renew", "a"): [EK],
    ("ek", "renew", "--all"): [LIST, EK],
    ("ca", "show"): [answer(schema.CaInfo)],
    ("ca", "list"): [answer(schema.CaCertificates)],
    ("ca", "crl", "OUT"): [answer(schema.CaRevocationLists)],
    ("ca", "revoke", "a"): [answer(schema.CaRevocation)],
    ("ca", "csr", "OUT"): [answer(schema.CaRequest)],
    ("ca", "import", "BUNDLE"): [answer(schema.CaInfo)],
    ("ca", "rekey"): [answer(schema.CaRekeyResult)],
    ("provider", "list"): [answer(schema.ProviderList)],
    ("provider", "rotate", "p"): [answer(schema.RotateResult)],
    ("provider", "backup", "p", "OUT", "--passphrase-fd", "FD"): [KEYRING, b""],
    ("provider", "import", "p", "BUNDLE", "--passphrase-fd", "FD"): [
        answer(schema.KeyImportResult)
    ],
    ("events",): [answer(schema.EventList)],
    ("top", "--interval", "0.1", "--times", "1"): [
        answer(schema.UsageList),
        answer(schema.UsageList),
    ],
    ("metrics",): [b"vtpmd_workers 1.0\n"],
    ("doctor", "a"): [answer(schema.Diagnosis)],
    ("capabilities",): [answer(schema.Capabilities)],
    ("capabilities", "--openapi"): [{"openapi": "3.1.0"}],
    ("version",): [answer(schema.Capabilities)],
}


ALONE = frozenset({"completion", "logs", "verify"})
"""Verbs that ask no daemon; they have tests of their own."""


def octets(content: Any) -> bytes:
    """An answer's body."""
    return content if isinstance(content, bytes) else json.dumps(content).encode()
