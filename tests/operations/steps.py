"""What tests of several verbs ask for and look at."""

import contextlib
import os
import socket

import trio

from vtpmd.api.schema import CreateRequest, InstanceInfo

GET_CAPABILITY = bytes([0, 0, 0, 1])


def there(info: InstanceInfo) -> bool:
    """Whether the instance's control socket exists."""
    return os.path.exists(info.control_socket)


async def hung_up_on(info: InstanceInfo) -> bool:
    """Whether whoever connects now finds the connection closed, unlike a worker's."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(info.control_socket)
        client.setblocking(False)
        with contextlib.suppress(BrokenPipeError):
            client.send(GET_CAPABILITY)
        with trio.fail_after(10):
            await trio.lowlevel.wait_readable(client)
        try:
            return not client.recv(100)
        except ConnectionResetError:
            return True


def wanted(name: str, start: bool = True) -> CreateRequest:
    return CreateRequest(name=name, start=start)
