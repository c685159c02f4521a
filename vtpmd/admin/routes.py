"""Which request does what: a table of operations."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

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
from vtpmd.telemetry.audit import Audit, acting
from vtpmd.telemetry.metrics import MEDIA_TYPE

from .conversation import Request, Response
from .documents import write
from .schema import parse, parse_query


@dataclass(frozen=True)
class Handler:
    """What carries a request out.

    `operation` is given the fleet, the name in the path if there is one, the request that the
    `body` or the `query` holds, and the body as it is where the query holds the request. It
    returns a report, octets of the `media_type` or nothing.
    """

    operation: Callable[..., Awaitable[api.Report | bytes | None]]
    body: type[api.Request] | None = None
    query: type[api.Request] | None = None
    media_type: str = names.BUNDLE_MEDIA_TYPE

    def request(self, query: str, body: bytes) -> api.Request | None:
        """The request as it is declared. Raises OperationError."""
        if self.query is not None:
            return parse_query(self.query, query)
        return None if self.body is None else parse(self.body, body)


HANDLERS: dict[names.Route, Handler] = {
    names.METRICS: Handler(metrics, media_type=MEDIA_TYPE),
    names.EVENTS: Handler(events, query=api.EventsRequest),
    names.TOP: Handler(top),
    names.CAPABILITIES: Handler(capabilities),
    names.DOCTOR: Handler(doctor),
    names.DOCTOR_INSTANCE: Handler(doctor_instance),
    names.LIST: Handler(list_),
    names.CREATE: Handler(create, body=api.CreateRequest),
    names.CREATE_INCOMING: Handler(create_incoming, query=api.IncomingRequest),
    names.INFO: Handler(info),
    names.SET: Handler(set_, body=api.SetRequest),
    names.RENAME: Handler(rename, body=api.RenameRequest),
    names.DELETE: Handler(delete),
    names.START: Handler(start),
    names.STOP: Handler(stop, body=api.StopRequest),
    names.PCRS: Handler(pcr),
    names.UNLOCK: Handler(unlock),
    names.UNLOCK_ALL: Handler(unlock_all, body=api.UnlockRequest),
    names.UPGRADE: Handler(upgrade),
    names.UPGRADE_ALL: Handler(upgrade_all),
    names.MIGRATE: Handler(migrate, body=api.MigrateRequest),
    names.TICKET: Handler(ticket, media_type=names.TICKET_MEDIA_TYPE),
    names.MIGRATE_CHECK: Handler(migrate_check, query=api.MigrateCheckRequest),
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
    names.RESTORE: Handler(restore, query=api.RestoreRequest),
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

_PATTERNS = {
    route: re.compile(route.path.replace("{name}", "(?P<name>[^/?#]+)")) for route in HANDLERS
}


@dataclass
class Call:
    """One request on its way: `subject` is what it is about, as soon as that is known."""

    route: names.Route
    subject: str
    arguments: list[Any]
    query: str
    body: bytes


class Routes:
    """Carries requests out on a fleet, and records each with its outcome.

    `fleet` is what the operations work on; nobody here looks into it.
    """

    def __init__(self, fleet: object, audit: Audit, reads: bool = True) -> None:
        self._fleet = fleet
        self._audit = audit
        self.record_reads(reads)

    def record_reads(self, reads: bool) -> None:
        """Whether requests that only look are recorded, too."""
        self._unrecorded: frozenset[names.Route] = frozenset() if reads else names.READS

    async def __call__(self, request: Request) -> Response:
        """Answer one request. Raises OperationError for what cannot be done."""
        path, _, query = request.target.partition("?")
        matches = {
            route.method: (route, match)
            for route, pattern in _PATTERNS.items()
            if (match := pattern.fullmatch(path))
        }
        if not matches:
            raise OperationError(problems.NO_ROUTE, f"There is nothing at {request.target}.")
        if request.method not in matches:
            known = ", ".join(sorted(matches))
            raise OperationError(problems.NO_METHOD, f"{request.target} knows only {known}.")
        route, match = matches[request.method]
        named = [unquote(name) for name in match.groups()]
        call = Call(route, "".join(named), [self._fleet, *named], query, request.body)
        with acting(request.peer.uid, request.peer.pid):
            return await self._recorded(call)

    async def _recorded(self, call: Call) -> Response:
        outcome, reason = "abandoned", ""
        try:
            response = await _carry_out(call)
            outcome = "done"
            return response
        except OperationError as refused:
            outcome, reason = refused.problem.code, refused.detail
            raise
        except Exception:
            outcome = problems.INTERNAL.code
            raise
        finally:
            if call.route not in self._unrecorded:
                self._audit.record(
                    "request",
                    verb=call.route.verb,
                    subject=call.subject,
                    outcome=outcome,
                    reason=reason,
                )


async def _carry_out(call: Call) -> Response:
    handler = HANDLERS[call.route]
    arguments = list(call.arguments)
    if (request := handler.request(call.query, call.body)) is not None:
        arguments.append(request)
        call.subject = call.subject or getattr(request, "name", None) or ""
    if handler.query is not None:
        arguments.append(call.body)
    result = await handler.operation(*arguments)
    if isinstance(result, api.InstanceInfo):
        call.subject = call.subject or result.name
        if call.route in CREATING:
            location = names.INFO.path.format(name=result.uuid)
            return Response(201, await write(result), headers={"Location": location})
    if isinstance(result, bytes):
        return Response(200, result, handler.media_type)
    return Response(204) if result is None else Response(200, await write(result))
