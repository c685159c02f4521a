"""A client of the daemon, for programs: one typed method for each operation.

    from vtpmd.client import Client, ClientError, schema

    client = Client()
    made = client.create(schema.CreateRequest(name="web1"), idempotency_key="order-4711")
    for instance in client.list().instances:
        print(instance.name, instance.state)

Every method raises ClientError, whose `problem.code` says what went wrong. `name` is the name or
the UUID of an instance, or the name of a key provider. Nothing but Python's standard library is
needed, and a client may be shared by threads. What stays as it is: docs/api.md.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from vtpmd.api import codec, http, names, problems, schema
from vtpmd.api.errors import UNREACHABLE, ClientError
from vtpmd.api.names import Route

__all__ = ["Client", "ClientError", "Tell", "names", "problems", "schema"]

SomeReport = TypeVar("SomeReport", bound=schema.Report)
Tell = Callable[[schema.Progress], None]
"""Is told how far an operation on several instances is."""
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Client:
    """The daemon behind the admin socket at `path`. Each request is a connection of its own."""

    def __init__(self, path: str = names.DEFAULT_ADMIN_SOCKET) -> None:
        self.path = path

    def metrics(self) -> bytes:
        """The daemon's metrics, in Prometheus' text format."""
        return self._exchange(names.METRICS, "", b"")

    def events(self, request: schema.EventsRequest | None = None) -> schema.EventList:
        """What has happened to instances; waits for something if that is asked for."""
        answer = self._exchange(names.EVENTS, "", b"", query=_query(request))
        return self._read(schema.EventList, answer)

    def top(self) -> schema.UsageList:
        """How much each instance is used."""
        return self._ask(names.TOP, schema.UsageList)

    def capabilities(self) -> schema.Capabilities:
        """What the daemon can do on its host."""
        return self._ask(names.CAPABILITIES, schema.Capabilities)

    def doctor(self, name: str | None = None) -> schema.Diagnosis:
        """What is wrong with the host as the daemon sees it, or with one instance."""
        if name is None:
            return self._ask(names.DOCTOR, schema.Diagnosis)
        return self._ask(names.DOCTOR_INSTANCE, schema.Diagnosis, name)

    def list(self) -> schema.InstanceList:
        """All instances, without their keys and workers."""
        return self._ask(names.LIST, schema.InstanceList)

    def openapi(self) -> bytes:
        """The description of the admin interface, an OpenAPI 3.1 document in JSON."""
        return self._exchange(names.OPENAPI, "", b"")

    def create(
        self, request: schema.CreateRequest, idempotency_key: str | None = None
    ) -> schema.InstanceInfo:
        """Make a new TPM.

        With a key of at most 128 letters, digits and signs, which belongs to this request alone,
        the same may be asked for again for a day: it is made once.
        """
        headers = {} if idempotency_key is None else _key(idempotency_key)
        answer = self._exchange(names.CREATE, "", _body(request), headers=headers)
        return self._read(schema.InstanceInfo, answer)

    def create_incoming(
        self, request: schema.IncomingRequest, ticket: bytes = b""
    ) -> schema.InstanceInfo:
        """Make an instance whose TPM comes from another host."""
        answer = self._send_ticket(names.CREATE_INCOMING, ticket, request)
        return self._read(schema.InstanceInfo, answer)

    def info(self, name: str) -> schema.InstanceInfo:
        """One instance."""
        return self._ask(names.INFO, schema.InstanceInfo, name)

    def set(self, name: str, request: schema.SetRequest) -> schema.InstanceInfo:
        """Change settings of an instance, which may be running."""
        return self._ask(names.SET, schema.InstanceInfo, name, request)

    def rename(self, name: str, request: schema.RenameRequest) -> schema.InstanceInfo:
        """Give an instance that is not running another name, which its sockets have, too."""
        return self._ask(names.RENAME, schema.InstanceInfo, name, request)

    def delete(self, name: str) -> schema.Deletion:
        """Remove an instance that is not running, for good."""
        return self._ask(names.DELETE, schema.Deletion, name)

    def start(self, name: str) -> schema.InstanceInfo:
        """Serve an instance."""
        return self._ask(names.START, schema.InstanceInfo, name)

    def stop(self, name: str, request: schema.StopRequest | None = None) -> schema.InstanceInfo:
        """Power the TPM off in good order, and stop serving it."""
        return self._ask(names.STOP, schema.InstanceInfo, name, request)

    def pcrs(self, name: str) -> schema.Digests:
        """The PCR values of a running TPM."""
        return self._ask(names.PCRS, schema.Digests, name)

    def unlock(self, name: str) -> schema.InstanceInfo:
        """Try at once to get the key of a locked instance."""
        return self._ask(names.UNLOCK, schema.InstanceInfo, name)

    def unlock_all(
        self, request: schema.UnlockRequest | None = None, tell: Tell | None = None
    ) -> schema.UnlockResult:
        """Try at once to get the keys of all locked instances, or of one provider's."""
        return self._follow(names.UNLOCK_ALL, schema.UnlockResult, request, tell)

    def upgrade(self, name: str) -> schema.Upgraded:
        """Have a fresh worker, of the daemon's version, serve an instance on."""
        return self._ask(names.UPGRADE, schema.Upgraded, name)

    def upgrade_all(self, tell: Tell | None = None) -> schema.UpgradeResult:
        """The same for every running instance."""
        return self._follow(names.UPGRADE_ALL, schema.UpgradeResult, None, tell)

    def migrate(
        self, name: str, request: schema.MigrateRequest | None = None
    ) -> schema.InstanceInfo:
        """Declare that a TPM is about to move to another host, or that it has."""
        return self._ask(names.MIGRATE, schema.InstanceInfo, name, request)

    def ticket(self, name: str) -> bytes:
        """What another host has to know of an instance before its TPM comes there."""
        return self._exchange(names.TICKET, name, b"")

    def migrate_check(
        self, ticket: bytes, request: schema.MigrateCheckRequest | None = None
    ) -> schema.MigrateCheck:
        """Whether the TPM of a ticket can come here."""
        answer = self._send_ticket(names.MIGRATE_CHECK, ticket, request)
        return self._read(schema.MigrateCheck, answer)

    def take_back(self, name: str) -> schema.InstanceInfo:
        """Let a TPM that was handed over go on here."""
        return self._ask(names.TAKE_BACK, schema.InstanceInfo, name)

    def accept_rollback(self, name: str) -> schema.InstanceInfo:
        """Let a TPM go on with the older state that was found."""
        return self._ask(names.ACCEPT_ROLLBACK, schema.InstanceInfo, name)

    def rekey(self, name: str, request: schema.RekeyRequest | None = None) -> schema.RekeyResult:
        """Wrap the key of an instance anew, which may be running."""
        return self._ask(names.REKEY, schema.RekeyResult, name, request)

    def da_reset(self, name: str) -> schema.LockoutResult:
        """Let a TPM out of lockout, which may be running."""
        return self._ask(names.DA_RESET, schema.LockoutResult, name)

    def clone(self, name: str, request: schema.CloneRequest) -> schema.InstanceInfo:
        """Make a new instance from another one."""
        return self._ask(names.CLONE, schema.InstanceInfo, name, request)

    def backup(self, name: str) -> bytes:
        """A bundle of an instance, which may be running."""
        return self._exchange(names.BACKUP, name, b"")

    def snapshots(self, name: str) -> schema.SnapshotList:
        """The snapshots of an instance."""
        return self._ask(names.SNAPSHOTS, schema.SnapshotList, name)

    def snapshot(
        self, name: str, request: schema.SnapshotRequest | None = None
    ) -> schema.SnapshotInfo:
        """Keep the state of an instance, which may be running."""
        return self._ask(names.SNAPSHOT, schema.SnapshotInfo, name, request)

    def restore_snapshot(
        self, name: str, request: schema.SnapshotRestoreRequest
    ) -> schema.InstanceInfo:
        """Turn an instance that is not running back to a snapshot."""
        return self._ask(names.SNAPSHOT_RESTORE, schema.InstanceInfo, name, request)

    def delete_snapshot(self, name: str, request: schema.SnapshotDeleteRequest) -> None:
        """Remove a snapshot for good."""
        self._exchange(names.SNAPSHOT_DELETE, name, _body(request))

    def restore(
        self, bundle: bytes, request: schema.RestoreRequest | None = None
    ) -> schema.InstanceInfo:
        """Make an instance from a bundle."""
        answer = self._exchange(names.RESTORE, "", bundle, names.BUNDLE_MEDIA_TYPE, _query(request))
        return self._read(schema.InstanceInfo, answer)

    def ek(self, name: str) -> schema.EkInfo:
        """The EKs of an instance and their certificates."""
        return self._ask(names.EK, schema.EkInfo, name)

    def ek_requests(
        self, name: str, request: schema.EkRequestsRequest | None = None
    ) -> schema.EkRequests:
        """Requests for certificates of a foreign authority."""
        return self._ask(names.EK_REQUESTS, schema.EkRequests, name, request)

    def ek_import(self, name: str, request: schema.EkImportRequest) -> schema.EkInfo:
        """Give an instance certificates of a foreign authority; it may be running."""
        return self._ask(names.EK_IMPORT, schema.EkInfo, name, request)

    def ek_renew(self, name: str, request: schema.EkRenewRequest | None = None) -> schema.EkInfo:
        """Give an instance new certificates of the own authority; it may be running."""
        return self._ask(names.EK_RENEW, schema.EkInfo, name, request)

    def ca(self) -> schema.CaInfo:
        """The own authority."""
        return self._ask(names.CA, schema.CaInfo)

    def ca_certificates(self) -> schema.CaCertificates:
        """All certificates that were given to TPMs."""
        return self._ask(names.CA_CERTIFICATES, schema.CaCertificates)

    def ca_crl(self) -> schema.CaRevocationLists:
        """The revocation lists of the own authority, signed now."""
        return self._ask(names.CA_CRL, schema.CaRevocationLists)

    def ca_revoke(self, request: schema.CaRevokeRequest) -> schema.CaRevocation:
        """Revoke certificates of the own authority."""
        return self._ask(names.CA_REVOKE, schema.CaRevocation, request=request)

    def ca_request(self) -> schema.CaRequest:
        """A request for an issuing CA below somebody else's."""
        return self._ask(names.CA_REQUEST, schema.CaRequest)

    def ca_import(self, request: schema.CaImportRequest) -> schema.CaInfo:
        """Issue from now on with the certificate that was requested."""
        return self._ask(names.CA_IMPORT, schema.CaInfo, request=request)

    def ca_rekey(self, request: schema.CaRekeyRequest | None = None) -> schema.CaRekeyResult:
        """Seal the keys of the own authority under a new key."""
        return self._ask(names.CA_REKEY, schema.CaRekeyResult, request=request)

    def providers(self) -> schema.ProviderList:
        """The key providers, and how many instances need each."""
        return self._ask(names.PROVIDERS, schema.ProviderList)

    def rotate(self, name: str) -> schema.RotateResult:
        """Make a new KEK at a provider that keeps its keys on the host."""
        return self._ask(names.ROTATE, schema.RotateResult, name)

    def backup_keys(self, name: str, request: schema.BackupRequest) -> schema.KeyringBackup:
        """The KEKs of a provider that keeps them on the host, under a passphrase."""
        return self._ask(names.BACKUP_KEYS, schema.KeyringBackup, name, request)

    def note_backup(self, name: str, request: schema.BackupNote) -> None:
        """Tell the daemon that a backup of KEKs has been written."""
        self._exchange(names.NOTE_BACKUP, name, _body(request))

    def import_keys(self, name: str, request: schema.KeyImportRequest) -> schema.KeyImportResult:
        """Add the KEKs of a backup to a provider."""
        return self._ask(names.IMPORT_KEYS, schema.KeyImportResult, name, request)

    def _send_ticket(self, route: Route, ticket: bytes, request: schema.Request | None) -> bytes:
        return self._exchange(route, "", ticket, names.TICKET_MEDIA_TYPE, _query(request))

    def _ask(
        self,
        route: Route,
        report: type[SomeReport],
        name: str = "",
        request: schema.Request | None = None,
    ) -> SomeReport:
        return self._read(report, self._exchange(route, name, _body(request)))

    def _follow(
        self,
        route: Route,
        report: type[SomeReport],
        request: schema.Request | None,
        tell: Tell | None,
    ) -> SomeReport:
        """Ask for something that takes a while, and `tell` how far it is."""
        message = self._message(route, "", _body(request), accept=names.PROGRESS_MEDIA_TYPE)
        try:
            for status, line in http.lines(self.path, message):
                self._demand_success(status, line)
                document = self._json_object(line)
                if "progress" not in document:
                    return self._read_result(report, document)
                if tell is not None:
                    tell(self._decoded(schema.Progress, document["progress"]))
        except (OSError, http.AnswerError) as error:
            raise self._failed(error) from None
        raise self._unreachable("the answer ends before the result")

    def _read_result(self, report: type[SomeReport], document: dict[str, object]) -> SomeReport:
        if "problem" in document:
            raise ClientError.from_document(document["problem"])
        # A daemon that tells no progress answers with the report alone.
        return self._decoded(report, document.get("result", document))

    def _exchange(
        self,
        route: Route,
        name: str,
        body: bytes,
        media_type: str = "application/json",
        query: str = "",
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> bytes:
        message = self._message(route, name, body, media_type, query, headers=headers)
        try:
            status, answer = http.exchange(self.path, message)
        except (OSError, http.AnswerError) as error:
            raise self._failed(error) from None
        self._demand_success(status, answer)
        return answer

    def _message(
        self,
        route: Route,
        name: str,
        body: bytes,
        media_type: str = "application/json",
        query: str = "",
        accept: str = "*/*",
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> bytes:
        target = route.path.format(name=http.quote(name)) + query
        fields = {"Content-Type": media_type, "Accept": accept, **headers}
        return http.message(route.method, target, body, fields)

    def _failed(self, error: OSError | http.AnswerError) -> ClientError:
        if isinstance(error, PermissionError):
            return ClientError(problems.FORBIDDEN, self._kept_out())
        return self._unreachable(getattr(error, "strerror", None) or str(error))

    def _demand_success(self, status: int, answer: bytes) -> None:
        if not 200 <= status < 300:
            raise ClientError.from_document(self._json(answer))

    def _read(self, report: type[SomeReport], answer: bytes) -> SomeReport:
        return self._decoded(report, self._json(answer))

    def _decoded(self, report: type[SomeReport], document: object) -> SomeReport:
        try:
            return codec.decode(report, document)
        except codec.ReportError as error:
            raise self._unreachable(f"the answer is not understood: {error}") from None

    def _json(self, answer: bytes) -> object:
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            raise self._unreachable("the answer is not JSON") from None

    def _json_object(self, answer: bytes) -> dict[str, object]:
        document = self._json(answer)
        if not isinstance(document, dict):
            raise self._unreachable("the answer is not understood: it is not an object")
        return document

    def _kept_out(self) -> str:
        return (
            f"User {os.geteuid()} may not use the admin socket {self.path}: only root, the "
            "daemon's user and members of its admin group may."
        )

    def _unreachable(self, reason: str) -> ClientError:
        return ClientError(UNREACHABLE, f"No answer from vtpmd on {self.path}: {reason}.")


def _key(key: str) -> dict[str, str]:
    if re.fullmatch(names.IDEMPOTENCY_KEY_PATTERN, key) is None:
        raise ClientError(problems.INVALID, "An idempotency key has 1 to 128 letters and signs.")
    return {names.IDEMPOTENCY_KEY: key}


def _body(request: schema.Request | None) -> bytes:
    return b"" if request is None else json.dumps(codec.encode_request(request)).encode()


def _query(request: schema.Request | None) -> str:
    options = {} if request is None else codec.encode_request(request)
    words = [f"{key}={http.quote(_word(value))}" for key, value in options.items()]
    return "?" + "&".join(words) if words else ""


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
