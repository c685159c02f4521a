"""The words of the admin interface, shared by the daemon and vtpmctl: constants only."""

from typing import Final, NamedTuple

API: Final = "/v1"
DEFAULT_ADMIN_SOCKET: Final = "/run/vtpmd/admin.sock"
DEFAULT_CONFIGURATION: Final = "/etc/vtpmd/vtpmd.yaml"
ADMIN_SOCKET_VARIABLE: Final = "VTPMD_ADMIN_SOCKET"
PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
BUNDLE_MEDIA_TYPE: Final = "application/x-tar"
TICKET_MEDIA_TYPE: Final = "application/vnd.vtpmd.ticket"
MAX_BUNDLE: Final = 8 * 1024 * 1024
MAX_TICKET: Final = 256 * 1024
PROGRESS_MEDIA_TYPE: Final = "application/x-ndjson"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
IDEMPOTENCY_KEY_PATTERN: Final = r"[!#-~]{1,128}"  # letters, digits, signs but the quotation mark
PROBLEM_TYPE_PREFIX: Final = "urn:vtpmd:problem:"


class Route(NamedTuple):
    """One operation: its verb, HTTP method and path.

    `{name}` stands for an instance's name or UUID, or for the name of a key provider.
    """

    verb: str
    method: str
    path: str


OPENAPI: Final = Route("capabilities", "GET", f"{API}/openapi.json")
METRICS: Final = Route("metrics", "GET", "/metrics")
EVENTS: Final = Route("events", "GET", f"{API}/events")
TOP: Final = Route("top", "GET", f"{API}/usage")
CAPABILITIES: Final = Route("capabilities", "GET", f"{API}/capabilities")
DOCTOR: Final = Route("doctor", "GET", f"{API}/doctor")
DOCTOR_INSTANCE: Final = Route("doctor", "GET", f"{API}/instances/{{name}}/doctor")
LIST: Final = Route("list", "GET", f"{API}/instances")
CREATE: Final = Route("create", "POST", f"{API}/instances")
CREATE_INCOMING: Final = Route("create", "POST", f"{API}/incoming")
INFO: Final = Route("info", "GET", f"{API}/instances/{{name}}")
SET: Final = Route("set", "PATCH", f"{API}/instances/{{name}}")
RENAME: Final = Route("rename", "POST", f"{API}/instances/{{name}}/rename")
DELETE: Final = Route("delete", "DELETE", f"{API}/instances/{{name}}")
START: Final = Route("start", "POST", f"{API}/instances/{{name}}/start")
STOP: Final = Route("stop", "POST", f"{API}/instances/{{name}}/stop")
PCRS: Final = Route("pcr", "GET", f"{API}/instances/{{name}}/pcrs")
UNLOCK: Final = Route("unlock", "POST", f"{API}/instances/{{name}}/unlock")
UNLOCK_ALL: Final = Route("unlock", "POST", f"{API}/unlock")
UPGRADE: Final = Route("upgrade", "POST", f"{API}/instances/{{name}}/upgrade")
UPGRADE_ALL: Final = Route("upgrade", "POST", f"{API}/upgrade")
MIGRATE: Final = Route("migrate", "POST", f"{API}/instances/{{name}}/migrate")
TICKET: Final = Route("migrate", "POST", f"{API}/instances/{{name}}/ticket")
MIGRATE_CHECK: Final = Route("migrate-check", "POST", f"{API}/migrate-check")
TAKE_BACK: Final = Route("take-back", "POST", f"{API}/instances/{{name}}/take-back")
ACCEPT_ROLLBACK: Final = Route(
    "accept-rollback", "POST", f"{API}/instances/{{name}}/accept-rollback"
)
REKEY: Final = Route("rekey", "POST", f"{API}/instances/{{name}}/rekey")
DA_RESET: Final = Route("da-reset", "POST", f"{API}/instances/{{name}}/da-reset")
CLONE: Final = Route("clone", "POST", f"{API}/instances/{{name}}/clone")
BACKUP: Final = Route("backup", "GET", f"{API}/instances/{{name}}/backup")
SNAPSHOTS: Final = Route("snapshot list", "GET", f"{API}/instances/{{name}}/snapshots")
SNAPSHOT: Final = Route("snapshot create", "POST", f"{API}/instances/{{name}}/snapshots")
SNAPSHOT_RESTORE: Final = Route(
    "snapshot restore", "POST", f"{API}/instances/{{name}}/snapshots/restore"
)
SNAPSHOT_DELETE: Final = Route(
    "snapshot delete", "POST", f"{API}/instances/{{name}}/snapshots/delete"
)
RESTORE: Final = Route("restore", "POST", f"{API}/restore")
EK: Final = Route("ek show", "GET", f"{API}/instances/{{name}}/ek")
EK_REQUESTS: Final = Route("ek csr", "POST", f"{API}/instances/{{name}}/ek/requests")
EK_IMPORT: Final = Route("ek import", "POST", f"{API}/instances/{{name}}/ek/import")
EK_RENEW: Final = Route("ek renew", "POST", f"{API}/instances/{{name}}/ek/renew")
CA: Final = Route("ca show", "GET", f"{API}/ca")
CA_CERTIFICATES: Final = Route("ca list", "GET", f"{API}/ca/certificates")
CA_CRL: Final = Route("ca crl", "POST", f"{API}/ca/crl")
CA_REVOKE: Final = Route("ca revoke", "POST", f"{API}/ca/revoke")
CA_REQUEST: Final = Route("ca csr", "POST", f"{API}/ca/request")
CA_IMPORT: Final = Route("ca import", "POST", f"{API}/ca/import")
CA_REKEY: Final = Route("ca rekey", "POST", f"{API}/ca/rekey")
PROVIDERS: Final = Route("provider list", "GET", f"{API}/providers")
ROTATE: Final = Route("provider rotate", "POST", f"{API}/providers/{{name}}/rotate")
BACKUP_KEYS: Final = Route("provider backup", "POST", f"{API}/providers/{{name}}/backup")
NOTE_BACKUP: Final = Route("provider backup", "POST", f"{API}/providers/{{name}}/backup/done")
IMPORT_KEYS: Final = Route("provider import", "POST", f"{API}/providers/{{name}}/import")

# Requests that only look: the audit log may leave them out.
READS: Final = frozenset(
    {
        *(
            OPENAPI,
            METRICS,
            EVENTS,
            TOP,
            CAPABILITIES,
            DOCTOR,
            DOCTOR_INSTANCE,
            LIST,
            INFO,
            PCRS,
            SNAPSHOTS,
        ),
        *(EK, CA, CA_CERTIFICATES, PROVIDERS),
    }
)

# Instance states.
STOPPED: Final = "stopped"
RUNNING: Final = "running"
LOCKED: Final = "locked"
FAILED: Final = "failed"
INCOMING: Final = "incoming"
STATES: Final = (STOPPED, RUNNING, LOCKED, FAILED, INCOMING)

# Whose a TPM is after its state was read: states of hand-over.
OURS: Final = "ours"
LENT: Final = "lent"
AWAY: Final = "away"

# Verdicts of the checks of `vtpmctl doctor`, from the best to the worst.
OK: Final = "ok"
UNKNOWN: Final = "unknown"
WARNING: Final = "warning"
BAD: Final = "bad"

# Instance names are like systemd unit names, short enough for socket paths, and free of what a
# shell, QEMU's option parser or a path would read differently.
NAME_PATTERN: Final = r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,63}"
RESERVED_NAMES: Final = frozenset({"admin"})  # admin.sock is the daemon's own socket

EXIT_UNREACHABLE: Final = 3
EXIT_FILE: Final = 13
# By the worst verdict.
EXIT_VERDICTS: Final = {OK: 0, UNKNOWN: 30, WARNING: 31, BAD: 32}
EXIT_INTERRUPTED: Final = 130  # as shells have it: 128 and the number of SIGINT

# vtpmctl's exit statuses, as `vtpmctl --help` shows them.
EXIT_STATUSES: Final = {
    0: "done",
    1: "the daemon or vtpmctl failed unexpectedly",
    2: "the command line or the request is not valid",
    EXIT_UNREACHABLE: "the daemon cannot be reached",
    4: "not permitted",
    5: "no such instance, snapshot, key provider, certificate or authority",
    6: "an instance of this name or UUID exists",
    7: "the instance is in use, running, stopped, handed over or to come",
    8: "the key is missing or its provider is unavailable (state locked)",
    9: "the stored TPM state was refused (state failed)",
    10: "the host cannot do this now",
    11: "a confirmation is needed (--yes, --trust-now)",
    12: "a file (backup, certificate, evidence) or its passphrase was refused",
    EXIT_FILE: "a file or the output cannot be read or written",
    20: "verify: the signature is not the key's",
    21: "verify: the nonce is another",
    22: "verify: the quote is of other PCR values",
    23: "verify: the event log does not make the PCR values",
    24: "verify: a rule of the policy is broken",
    25: "verify: the key is not proven to be a TPM's",
    26: "verify: a certificate is not believed",
    EXIT_VERDICTS[UNKNOWN]: "doctor: something could not be looked at",
    EXIT_VERDICTS[WARNING]: "doctor: something may go wrong",
    EXIT_VERDICTS[BAD]: "doctor: something is wrong",
    EXIT_INTERRUPTED: "interrupted (Ctrl-C, or no answer to a question)",
}

# vtpmd's own exit statuses, besides 0 and 2 (command line); the values are those of sysexits.h.
DAEMON_EXIT_FAILED: Final = 70
DAEMON_EXIT_BUSY: Final = 75
DAEMON_EXIT_CONFIGURATION: Final = 78
