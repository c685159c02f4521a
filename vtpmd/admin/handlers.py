"""What carries out each request of the admin interface: a table of operations."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vtpmd.api import names, problems
from vtpmd.api import schema as api
from vtpmd.api.problems import OperationError
from vtpmd.operations import ca, provider, snapshot
from vtpmd.operations.accept_rollback import accept_rollback
from vtpmd.operations.backup import backup
from vtpmd.operations.capabilities import capabilities
from vtpmd.operations.clone import clone
from vtpmd.operations.create import create
from vtpmd.operations.da_reset import da_reset
from vtpmd.operations.delete import delete
from vtpmd.operations.doctor import doctor, doctor_instance
from vtpmd.operations.ek_import import ek_import
from vtpmd.operations.ek_renew import ek_renew
from vtpmd.operations.ek_requests import ek_requests
from vtpmd.operations.ek_show import ek_show
from vtpmd.operations.events import events
from vtpmd.operations.incoming import create_incoming
from vtpmd.operations.info import info
from vtpmd.operations.list import list_
from vtpmd.operations.metrics import metrics
from vtpmd.operations.migrate import migrate, ticket
from vtpmd.operations.migrate_check import migrate_check
from vtpmd.operations.pcr import pcr
from vtpmd.operations.rekey import rekey
from vtpmd.operations.rename import rename
from vtpmd.operations.restore import restore
from vtpmd.operations.set import set_
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.operations.take_back import take_back
from vtpmd.operations.top import top
from vtpmd.operations.unlock import unlock, unlock_all
from vtpmd.operations.upgrade import upgrade, upgrade_all
from vtpmd.telemetry.metrics import MEDIA_TYPE

from .schema import parse, parse_query


@dataclass(frozen=True)
class Handler:
    """What carries a request out.

    `operation` is given the fleet, the name in the path if there is one, the request that the
    `body` or the `query` holds, and the body as it is if that is an `upload` of this media type. It
    returns a report, octets of the `media_type` or nothing. If it `tells` how far it is, it is also
    given whom to tell; an `idempotent` one is given the key that the client has for its request.
    """

    operation: Callable[..., Awaitable[api.Report | bytes | None]]
    body: type[api.Request] | None = None
    query: type[api.Request] | None = None
    media_type: str = names.BUNDLE_MEDIA_TYPE
    upload: str = ""
    tells: bool = False
    idempotent: bool = False

    def request(self, query: str, body: bytes) -> api.Request | None:
        """The request as it is declared. Raises OperationError."""
        asked = parse_query(self.query or api.Request, query)  # which has no fields
        if self.body is not None:
            return parse(self.body, body)
        if not self.upload and body.strip() not in (b"", b"{}"):
            raise OperationError(problems.INVALID, "body: nothing is expected in it")
        return asked if self.query is not None else None


HANDLERS: dict[names.Route, Handler] = {
    names.METRICS: Handler(metrics, media_type=MEDIA_TYPE),
    names.EVENTS: Handler(events, query=api.EventsRequest),
    names.TOP: Handler(top),
    names.CAPABILITIES: Handler(capabilities),
    names.DOCTOR: Handler(doctor),
    names.DOCTOR_INSTANCE: Handler(doctor_instance),
    names.LIST: Handler(list_),
    names.CREATE: Handler(create, body=api.CreateRequest, idempotent=True),
    names.CREATE_INCOMING: Handler(
        create_incoming, query=api.IncomingRequest, upload=names.TICKET_MEDIA_TYPE
    ),
    names.INFO: Handler(info),
    names.SET: Handler(set_, body=api.SetRequest),
    names.RENAME: Handler(rename, body=api.RenameRequest),
    names.DELETE: Handler(delete),
    names.START: Handler(start),
    names.STOP: Handler(stop, body=api.StopRequest),
    names.PCRS: Handler(pcr),
    names.UNLOCK: Handler(unlock),
    names.UNLOCK_ALL: Handler(unlock_all, body=api.UnlockRequest, tells=True),
    names.UPGRADE: Handler(upgrade),
    names.UPGRADE_ALL: Handler(upgrade_all, tells=True),
    names.MIGRATE: Handler(migrate, body=api.MigrateRequest),
    names.TICKET: Handler(ticket, media_type=names.TICKET_MEDIA_TYPE),
    names.MIGRATE_CHECK: Handler(
        migrate_check, query=api.MigrateCheckRequest, upload=names.TICKET_MEDIA_TYPE
    ),
    names.TAKE_BACK: Handler(take_back),
    names.ACCEPT_ROLLBACK: Handler(accept_rollback),
    names.REKEY: Handler(rekey, body=api.RekeyRequest),
    names.DA_RESET: Handler(da_reset),
    names.CLONE: Handler(clone, body=api.CloneRequest),
    names.BACKUP: Handler(backup),
    names.SNAPSHOTS: Handler(snapshot.list_),
    names.SNAPSHOT: Handler(snapshot.create, body=api.SnapshotRequest),
    names.SNAPSHOT_RESTORE: Handler(snapshot.restore, body=api.SnapshotRestoreRequest),
    names.SNAPSHOT_DELETE: Handler(snapshot.delete, body=api.SnapshotDeleteRequest),
    names.RESTORE: Handler(restore, query=api.RestoreRequest, upload=names.BUNDLE_MEDIA_TYPE),
    names.EK: Handler(ek_show),
    names.EK_REQUESTS: Handler(ek_requests, body=api.EkRequestsRequest),
    names.EK_IMPORT: Handler(ek_import, body=api.EkImportRequest),
    names.EK_RENEW: Handler(ek_renew, body=api.EkRenewRequest),
    names.CA: Handler(ca.show),
    names.CA_CERTIFICATES: Handler(ca.list_),
    names.CA_CRL: Handler(ca.revocation_lists),
    names.CA_REVOKE: Handler(ca.revoke, body=api.CaRevokeRequest),
    names.CA_REQUEST: Handler(ca.request),
    names.CA_IMPORT: Handler(ca.import_, body=api.CaImportRequest),
    names.CA_REKEY: Handler(ca.rekey, body=api.CaRekeyRequest),
    names.PROVIDERS: Handler(provider.list_),
    names.ROTATE: Handler(provider.rotate),
    names.BACKUP_KEYS: Handler(provider.backup, body=api.BackupRequest),
    names.NOTE_BACKUP: Handler(provider.note_backup, body=api.BackupNote),
    names.IMPORT_KEYS: Handler(provider.import_, body=api.KeyImportRequest),
}

CREATING = frozenset({names.CREATE, names.CREATE_INCOMING, names.CLONE, names.RESTORE})
"""Answered with 201 and the location of the new instance."""
