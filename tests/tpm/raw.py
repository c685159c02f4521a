"""Commands as octets, for what no well-behaved caller would send."""

import struct

from tests.differential.differences import explains
from tests.tpm.harness import Tester, sized
from vtpmd.tpm.wire.constants import RH, ST


def framed(code: int, body: bytes = b"", tag: int = ST.NO_SESSIONS) -> bytes:
    """A command whose size is right."""
    return struct.pack(">HII", tag, 10 + len(body), code) + body


def resized(command: bytes) -> bytes:
    """The same command with its size field set right."""
    return command[:2] + len(command).to_bytes(4) + command[6:]


def authorization(
    handle: int = RH.RS_PW, nonce: bytes = b"", attributes: int = 0, proof: bytes = b""
) -> bytes:
    """TPMS_AUTH_COMMAND."""
    return handle.to_bytes(4) + sized(nonce) + bytes((attributes,)) + sized(proof)


def session_area(*authorizations: bytes) -> bytes:
    """The authorization area of a command."""
    octets = b"".join(authorizations)
    return len(octets).to_bytes(4) + octets


def with_sessions(
    code: int, handles: bytes, authorizations: list[bytes], params: bytes = b""
) -> bytes:
    """A command with an authorization area."""
    return framed(code, handles + session_area(*authorizations) + params, ST.SESSIONS)


def code_of(response: bytes) -> int:
    """The response code; a failed response has to be a header and nothing else."""
    code = int.from_bytes(response[6:10])
    if code:
        assert response == struct.pack(">HII", ST.NO_SESSIONS, 10, code)
    return code


def agreed_code(both: tuple[Tester, Tester], command: bytes) -> int:
    """The engine's response code; swtpm's is the same, or the difference is a known one."""
    ours, theirs = (code_of(tester.raw(command)) for tester in both)
    assert ours == theirs or explains(command, ours, theirs), (
        f"{command.hex()}: 0x{ours:03x}, swtpm 0x{theirs:03x}"
    )
    return ours
