"""Which request does what: one table, one handler per operation."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from vtpmd.api import names, problems
from vtpmd.api.codec import encode_report
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import (
    BackupNote,
    BackupRequest,
    CloneRequest,
    CreateRequest,
    InstanceInfo,
    InstanceList,
    KeyImportRequest,
    RekeyRequest,
    Report,
    RestoreRequest,
    StopRequest,
    UnlockRequest,
)
from vtpmd.operations import backup as backups
from vtpmd.operations import clone as cloning
from vtpmd.operations import provider as providers
from vtpmd.operations import rekey as rekeying
from vtpmd.operations.service import Service
from vtpmd.supervisor.instance import Instance
from vtpmd.telemetry.audit import Audit, acting

from .schema import SomeRequest, parse, parse_query
from .server import Request, Response


@dataclass
class Call:
    """One request on its way: `name` is what it is about, from its path or, at last, its body."""

    service: Service
    name: str
    query: str
    body: bytes

    def parse(self, request: type[SomeRequest]) -> SomeRequest:
        """The request in the body. Raises OperationError."""
        return parse(request, self.body)


Handler = Callable[[Call], Awaitable[Response]]


async def _capabilities(call: Call) -> Response:
    return _ok(await call.service.capabilities())


async def _list(call: Call) -> Response:
    return _ok(InstanceList(instances=tuple(call.service.list())))


async def _create(call: Call) -> Response:
    request = call.parse(CreateRequest)
    call.name = request.name
    return _created(await call.service.create(request))


async def _info(call: Call) -> Response:
    return _ok(await call.service.info(call.name))


async def _delete(call: Call) -> Response:
    return _ok(await call.service.delete(call.name))


async def _start(call: Call) -> Response:
    return _ok(await call.service.start(call.name))


async def _stop(call: Call) -> Response:
    return _ok(await call.service.stop(call.name, call.parse(StopRequest).remember))


async def _pcrs(call: Call) -> Response:
    return _ok(await call.service.pcrs(call.name))


async def _unlock(call: Call) -> Response:
    return _ok(await call.service.unlock(call.name))


async def _unlock_all(call: Call) -> Response:
    return _ok(await call.service.unlock_all(call.parse(UnlockRequest).provider))


async def _rekey(call: Call) -> Response:
    return _ok(await rekeying.rekey(call.service.fleet, call.name, call.parse(RekeyRequest)))


async def _clone(call: Call) -> Response:
    request = call.parse(CloneRequest)
    instance = await cloning.clone(call.service.fleet, call.name, request)
    return await _new(call, instance, request.start)


async def _backup(call: Call) -> Response:
    bundle = await backups.backup(call.service.fleet, call.name)
    return Response(200, bundle, names.BUNDLE_MEDIA_TYPE)


async def _restore(call: Call) -> Response:
    request = parse_query(RestoreRequest, call.query)
    instance = await backups.restore(call.service.fleet, call.body, request)
    call.name = instance.metadata.name
    return await _new(call, instance, request.start)


async def _new(call: Call, instance: Instance, start: bool) -> Response:
    service = call.service
    served = service.begin_serving(instance) if start else service.info_of(instance)
    return _created(await served)


async def _providers(call: Call) -> Response:
    return _ok(await providers.describe_all(call.service.fleet))


async def _rotate(call: Call) -> Response:
    return _ok(await providers.rotate(call.service.fleet.host.keys, call.name))


async def _backup_keys(call: Call) -> Response:
    passphrase = call.parse(BackupRequest).passphrase
    return _ok(await providers.backup(call.service.fleet.host.keys, call.name, passphrase))


async def _note_backup(call: Call) -> Response:
    versions = call.parse(BackupNote).key_versions
    await providers.note_backup(call.service.fleet.host.keys, call.name, versions)
    return Response(204)


async def _import_keys(call: Call) -> Response:
    request = call.parse(KeyImportRequest)
    return _ok(await providers.restore(call.service.fleet.host.keys, call.name, request))


HANDLERS: dict[names.Route, Handler] = {
    names.CAPABILITIES: _capabilities,
    names.LIST: _list,
    names.CREATE: _create,
    names.INFO: _info,
    names.DELETE: _delete,
    names.START: _start,
    names.STOP: _stop,
    names.PCRS: _pcrs,
    names.UNLOCK: _unlock,
    names.UNLOCK_ALL: _unlock_all,
    names.REKEY: _rekey,
    names.CLONE: _clone,
    names.BACKUP: _backup,
    names.RESTORE: _restore,
    names.PROVIDERS: _providers,
    names.ROTATE: _rotate,
    names.BACKUP_KEYS: _backup_keys,
    names.NOTE_BACKUP: _note_backup,
    names.IMPORT_KEYS: _import_keys,
}

_PATTERNS = {
    route: re.compile(route.path.replace("{name}", "(?P<name>[^/?#]+)")) for route in HANDLERS
}


class Routes:
    """Dispatches requests to a service, and records each with its outcome."""

    def __init__(self, service: Service, audit: Audit, reads: bool = True) -> None:
        self._service = service
        self._audit = audit
        self._unrecorded = frozenset() if reads else names.READS

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
        name = unquote(match.groupdict().get("name", ""))
        call = Call(self._service, name, query, request.body)
        with acting(request.peer.uid, request.peer.pid):
            return await self._recorded(route, call)

    async def _recorded(self, route: names.Route, call: Call) -> Response:
        outcome, reason = "abandoned", ""
        try:
            response = await HANDLERS[route](call)
            outcome = "done"
            return response
        except OperationError as refused:
            outcome, reason = refused.problem.code, refused.detail
            raise
        except Exception:
            outcome = problems.INTERNAL.code
            raise
        finally:
            if route not in self._unrecorded:
                self._audit.record(
                    "request", verb=route.verb, subject=call.name, outcome=outcome, reason=reason
                )


def _ok(report: Report) -> Response:
    return Response(200, encode_report(report))


def _created(info: InstanceInfo) -> Response:
    location = names.INFO.path.format(name=info.uuid)
    return Response(201, encode_report(info), headers={"Location": location})
