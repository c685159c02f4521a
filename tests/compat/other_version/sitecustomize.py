"""On the path of a daemon, this makes its workers talk as those of another version would.

PYTHON_VTPMD says how: "minor" sends reports with fields and words that this version does not know,
and without some that it does; "major" greets each new supervisor with a version that it does not
understand. Only the zygote and so the workers are changed, never the daemon; with "older" all
processes say that they are of an earlier version of vtpmd. (The name begins with PYTHON because the
zygote is given no other variables.)
"""

import os
import socket
import sys
from typing import Any

if os.environ["PYTHON_VTPMD"] == "older":
    import vtpmd

    vtpmd.__version__ = "0.0.9"

if "vtpmd.worker.zygote" in sys.orig_argv:
    from vtpmd.encoding import cbor
    from vtpmd.ipc import channel, codec, version
    from vtpmd.ipc.rules import Side, State

    _encode = codec.Codec.encode

    def _encode_other(self: codec.Codec, message: object) -> bytes:
        data = _encode(self, message)
        fields = cbor.decode(data)
        assert isinstance(fields, dict)
        match type(message).__name__:
            case "StatusReply":
                del fields["since"]
                fields.pop("commands", None)
                fields |= {"tpm": "dozing", "asleep": [{"since": 7}, None]}
            case "Ready" | "Stopped" | "ZygoteReady" | "Spawned":
                fields["more"] = True
            case "Event":
                fields = {"type": "Slept", "why": "quiet"}
        return cbor.encode(fields)

    match os.environ["PYTHON_VTPMD"]:
        case "minor":
            codec.Codec.encode = _encode_other  # type: ignore[method-assign]
            version.PROTOCOL = version.Version(1, 7)
        case "major":
            _begin = channel.Channel.__init__

            def _begin_other(
                self: channel.Channel, sock: socket.socket, side: Side, state: State, **more: Any
            ) -> None:
                if side is Side.WORKER and state is State.SERVING:  # a new supervisor is there
                    version.PROTOCOL = version.Version(2, 0)
                _begin(self, sock, side, state, **more)

            channel.Channel.__init__ = _begin_other  # type: ignore[method-assign]
