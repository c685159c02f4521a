"""Which request does what: one table, one handler per operation."""

import re
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError

from vtpmd.admin import names
from vtpmd.admin.schema import Body, CreateRequest, InstanceList, StopRequest
from vtpmd.admin.server import Request, Response
from vtpmd.supervisor.errors import OperationRefused
from vtpmd.supervisor.service import Service

Handler = Callable[[Service, str, bytes], Awaitable[Response]]
SomeBody = TypeVar("SomeBody", bound=Body)


async def _capabilities(service: Service, _name: str, _body: bytes) -> Response:
    return _ok(await service.capabilities())


async def _list(service: Service, _name: str, _body: bytes) -> Response:
    return _ok(InstanceList(instances=service.list()))


async def _create(service: Service, _name: str, body: bytes) -> Response:
    info = await service.create(_parse(CreateRequest, body))
    location = names.INFO.path.format(name=info.uuid)
    return Response(201, info.model_dump(mode="json"), headers={"Location": location})


async def _info(service: Service, name: str, _body: bytes) -> Response:
    return _ok(await service.info(name))


async def _delete(service: Service, name: str, _body: bytes) -> Response:
    await service.delete(name)
    return Response(204)


async def _start(service: Service, name: str, _body: bytes) -> Response:
    return _ok(await service.start(name))


async def _stop(service: Service, name: str, body: bytes) -> Response:
    return _ok(await service.stop(name, _parse(StopRequest, body or b"{}").remember))


async def _pcrs(service: Service, name: str, _body: bytes) -> Response:
    return _ok(await service.pcrs(name))


HANDLERS: dict[names.Route, Handler] = {
    names.CAPABILITIES: _capabilities,
    names.LIST: _list,
    names.CREATE: _create,
    names.INFO: _info,
    names.DELETE: _delete,
    names.START: _start,
    names.STOP: _stop,
    names.PCRS: _pcrs,
}

_PATTERNS = {
    route: re.compile(route.path.replace("{name}", "(?P<name>[^/?#]+)")) for route in HANDLERS
}


class Routes:
    """Dispatches requests to a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, request: Request) -> Response:
        """Answer one request. Raises OperationRefused for what cannot be done."""
        matches = {
            route.method: (route, match)
            for route, pattern in _PATTERNS.items()
            if (match := pattern.fullmatch(request.target))
        }
        if not matches:
            raise OperationRefused(names.NO_ROUTE, f"There is nothing at {request.target}.")
        if request.method not in matches:
            known = ", ".join(sorted(matches))
            raise OperationRefused(names.NO_METHOD, f"{request.target} knows only {known}.")
        route, match = matches[request.method]
        name = unquote(match.groupdict().get("name", ""))
        return await HANDLERS[route](self._service, name, request.body)


def _ok(content: BaseModel) -> Response:
    return Response(200, content.model_dump(mode="json"))


def _parse(model: type[SomeBody], body: bytes) -> SomeBody:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        reasons = [
            f"{'.'.join(map(str, detail['loc'])) or 'body'}: "
            + detail["msg"].removeprefix("Value error, ")
            for detail in error.errors(include_url=False, include_input=False)
        ]
        raise OperationRefused(names.INVALID, "; ".join(reasons)) from None
