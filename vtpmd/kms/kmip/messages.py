"""Requests and replies of KMIP 1.4: one operation in each (chapters 6 and 7)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..errors import KmsError
from ..words import printable
from .constants import Operation, ResultReason, ResultStatus, Tag
from .ttlv import (
    Item,
    TtlvError,
    Type,
    decode,
    encode,
    enumeration,
    integer,
    structure,
)

VERSION = (1, 4)
MAX_REPLY = 1 << 20

Result = TypeVar("Result", covariant=True)


class OperationFailedError(KmsError):
    """The server understood a request and did not do it; `message` is its explanation."""

    def __init__(self, operation: Operation, reason: int, message: str) -> None:
        try:
            self.reason: int = ResultReason(reason)
            name = str(self.reason)
        except ValueError:
            self.reason = reason
            name = f"reason {reason:#x}"
        words = f": {printable(message)}" if message else ""
        super().__init__(f"refuses {operation}: {name}{words}")


@dataclass(frozen=True)
class Request(Generic[Result]):
    """One operation, the fields of its payload, and how to read the payload of the answer.

    A `repeatable` request has the same effect when it is carried out twice, so that it may be sent
    again if its outcome is unknown.
    """

    operation: Operation
    payload: tuple[Item, ...] = field(repr=False)
    read: Callable[[Item], Result]
    repeatable: bool = True

    def encode(self) -> bytearray:
        """The whole message; the caller wipes it."""
        major, minor = VERSION
        header = structure(
            Tag.REQUEST_HEADER,
            structure(
                Tag.PROTOCOL_VERSION,
                integer(Tag.PROTOCOL_VERSION_MAJOR, major),
                integer(Tag.PROTOCOL_VERSION_MINOR, minor),
            ),
            integer(Tag.MAXIMUM_RESPONSE_SIZE, MAX_REPLY),
            integer(Tag.BATCH_COUNT, 1),
        )
        batch_item = structure(
            Tag.BATCH_ITEM,
            enumeration(Tag.OPERATION, self.operation),
            structure(Tag.REQUEST_PAYLOAD, *self.payload),
        )
        return encode(structure(Tag.REQUEST_MESSAGE, header, batch_item))

    def result(self, reply: bytes | bytearray) -> Result:
        """What the reply says.

        Raises OperationFailedError; TtlvError if it is not a reply to this request.
        """
        message = decode(reply)
        if message.tag != Tag.RESPONSE_MESSAGE:
            raise TtlvError(f"the message is {message.tag:06x} and no reply")
        self._check_version(message)
        batch_item = message.structure(Tag.BATCH_ITEM)
        self._check_status(batch_item)
        if batch_item.number(Tag.OPERATION, Type.ENUMERATION) != self.operation:
            raise TtlvError(f"the reply is to another operation than {self.operation}")
        return self.read(batch_item.structure(Tag.RESPONSE_PAYLOAD))

    def _check_version(self, message: Item) -> None:
        header = message.structure(Tag.RESPONSE_HEADER)
        version = read_version(header.structure(Tag.PROTOCOL_VERSION))
        if version != VERSION:
            raise TtlvError(f"the reply is in KMIP {shown(version)}, {shown(VERSION)} is needed")
        if header.number(Tag.BATCH_COUNT, Type.INTEGER) != 1:
            raise TtlvError("the reply is to more than one operation")

    def _check_status(self, batch_item: Item) -> None:
        status = batch_item.number(Tag.RESULT_STATUS, Type.ENUMERATION)
        if status == ResultStatus.SUCCESS:
            return
        if status == ResultStatus.OPERATION_PENDING:
            raise TtlvError(f"it wants to answer {self.operation} later, which was not asked for")
        reason = batch_item.number(Tag.RESULT_REASON, Type.ENUMERATION)
        words = batch_item.find(Tag.RESULT_MESSAGE)
        message = "" if words is None else str(words.typed(Type.TEXT_STRING).value)
        raise OperationFailedError(self.operation, reason, message)


def read_version(item: Item) -> tuple[int, int]:
    """A protocol version (6.1)."""
    return (
        item.number(Tag.PROTOCOL_VERSION_MAJOR, Type.INTEGER),
        item.number(Tag.PROTOCOL_VERSION_MINOR, Type.INTEGER),
    )


def shown(version: tuple[int, int]) -> str:
    """A protocol version for people: `1.4`."""
    return "{}.{}".format(*version)
