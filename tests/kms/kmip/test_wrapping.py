"""Whose fault it is when a server does not decrypt: that of the slot or that of the server."""

import os
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.kms.kmip.asking import open_client
from tests.kms.kmip.scripted import (
    BYTES,
    TEXT,
    Script,
    ScriptedServer,
    Stream,
    batch_item,
    item,
    read_request,
    reply,
)
from vtpmd.kms import gcm
from vtpmd.kms.errors import NotOpenedError
from vtpmd.kms.kmip.messages import OperationFailedError
from vtpmd.kms.kmip.ttlv import Item, Type, decode
from vtpmd.kms.kmip.wrapping import Delegating
from vtpmd.kms.tls import Credentials

KEK, DEK = os.urandom(32), os.urandom(32)
GENERAL_FAILURE, CRYPTOGRAPHIC_FAILURE, INVALID_FIELD = 0x100, 0x0A, 0x07
ENCRYPT, DECRYPT = 0x1F, 0x20

Answer = Callable[[int, bytes, bytes, bytes, bytes], bytes]


def cipher(reason: int, broken: frozenset[int] = frozenset()) -> Answer:
    """Encrypts and decrypts under KEK, and gives `reason` when it cannot."""

    def answer(operation: int, data: bytes, tag: bytes, iv: bytes, aad: bytes) -> bytes:
        failed = batch_item(operation, status=1, reason=reason)
        if operation in broken:
            return failed
        try:
            if operation == DECRYPT:
                fields = [item(0xC2, BYTES, AESGCM(KEK).decrypt(iv, data + tag, aad))]
            else:
                done = AESGCM(KEK).encrypt(iv, data, aad)
                fields = [item(0xC2, BYTES, done[:-16]), item(0xFF, BYTES, done[-16:])]
        except InvalidTag:
            return failed
        return batch_item(operation, item(0x94, TEXT, "1"), *fields)

    return answer


def script_of(answer: Answer) -> Script:
    def octets(payload: Item, tag: int) -> bytes:
        found = payload.find(0x420000 | tag)
        return b"" if found is None else bytes(payload.octets(found.tag))

    async def script(stream: Stream) -> None:
        while request := await read_request(stream):
            batch = decode(request).structure(0x42000F)
            payload = batch.structure(0x420079)
            data, tag, iv, aad = (octets(payload, each) for each in (0xC2, 0xFF, 0x3D, 0xFE))
            operation = batch.number(0x42005C, Type.ENUMERATION)
            await stream.send_all(reply(answer(operation, data, tag, iv, aad)))

    return script


@pytest.fixture
async def wrapping(fault_server: ScriptedServer, credentials: Credentials) -> Delegating:
    """What is tested."""
    return Delegating(open_client(fault_server.port, credentials))


async def test_what_the_server_wraps_is_what_is_wrapped_here(
    fault_server: ScriptedServer, wrapping: Delegating
) -> None:
    fault_server.script = script_of(cipher(GENERAL_FAILURE))
    wrapped = await wrapping.wrap("1", DEK, b"aad")
    assert gcm.unwrap(KEK, wrapped, b"aad") == DEK
    assert await wrapping.unwrap("1", gcm.wrap(KEK, DEK, b"aad"), b"aad") == DEK


@pytest.mark.parametrize("reason", [GENERAL_FAILURE, CRYPTOGRAPHIC_FAILURE, INVALID_FIELD])
async def test_a_damaged_slot_is_told_from_a_broken_server(
    fault_server: ScriptedServer, wrapping: Delegating, reason: int
) -> None:
    fault_server.script = script_of(cipher(reason))
    wrapped = gcm.wrap(KEK, DEK, b"aad")
    with pytest.raises(NotOpenedError):
        await wrapping.unwrap("1", wrapped, b"other")
    with pytest.raises(NotOpenedError):
        await wrapping.unwrap("1", wrapped[:-1], b"aad")


@pytest.mark.parametrize("broken", [{DECRYPT}, {ENCRYPT, DECRYPT}])
async def test_a_broken_server_is_not_taken_for_a_damaged_slot(
    fault_server: ScriptedServer, wrapping: Delegating, broken: set[int]
) -> None:
    fault_server.script = script_of(cipher(CRYPTOGRAPHIC_FAILURE, frozenset(broken)))
    with pytest.raises(OperationFailedError, match="Cryptographic Failure"):
        await wrapping.unwrap("1", gcm.wrap(KEK, DEK, b"aad"), b"aad")
