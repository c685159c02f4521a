"""PyKMIP's codec as a judge, in a process of its own: its package warns when it is imported.

Run as a program it answers one JSON line for each: `encode` a value of a type, `decode` one,
`request`: read a whole request and write it again.
"""

import json
import subprocess
import sys
from types import TracebackType
from typing import Any

TAG = 0x420001


class Oracle:
    """The other process; values are JSON, byte strings hexadecimal."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> "Oracle":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def encode(self, kind: str, value: object) -> bytes:
        """The octets of an item with TAG."""
        return bytes.fromhex(self._ask("encode", kind, value))

    def decode(self, kind: str, data: bytes | bytearray) -> object:
        """The value of an item with TAG."""
        return self._ask("decode", kind, data.hex())

    def request(self, data: bytes | bytearray) -> bytes:
        """The request as PyKMIP writes it after it has read it."""
        return bytes.fromhex(self._ask("request", "", data.hex()))

    def _ask(self, *question: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def main() -> None:
    """Answer questions until standard input ends."""
    from kmip.core import enums, primitives, utils  # type: ignore[import-untyped]
    from kmip.core.messages import messages  # type: ignore[import-untyped]

    kinds: dict[str, Any] = {
        "INTEGER": primitives.Integer,
        "LONG_INTEGER": primitives.LongInteger,
        "BIG_INTEGER": primitives.BigInteger,
        "BOOLEAN": primitives.Boolean,
        "TEXT_STRING": primitives.TextString,
        "BYTE_STRING": primitives.ByteString,
        "DATE_TIME": primitives.DateTime,
        "INTERVAL": primitives.Interval,
    }

    def answer(action: str, kind: str, value: Any) -> object:
        stream = utils.BytearrayStream()
        if action == "encode":
            octets = kind == "BYTE_STRING"
            kinds[kind](bytes.fromhex(value) if octets else value, enums.Tags(TAG)).write(stream)
            return stream.buffer.hex()
        if action == "decode":
            item = kinds[kind](tag=enums.Tags(TAG))
            item.read(utils.BytearrayStream(bytes.fromhex(value)))
            return item.value.hex() if kind == "BYTE_STRING" else item.value
        request = messages.RequestMessage()
        version = enums.KMIPVersion.KMIP_1_4
        request.read(utils.BytearrayStream(bytes.fromhex(value)), kmip_version=version)
        request.write(stream, kmip_version=version)
        return stream.buffer.hex()

    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
