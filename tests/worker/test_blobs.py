"""State blobs: what opens them, and what they say."""

from uuid import UUID

import pytest

from tests.worker.harness import DEK_ID, INSTANCE, make_key
from vtpmd.storage.envelope import Envelope, parse
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.header import Header
from vtpmd.swtpm.table import BlobType
from vtpmd.worker.blobs import open_blob, seal_blob

HEADER = Header(INSTANCE, 7, "permanent", DEK_ID, bytes(range(16)), 3, "lent")


def nobody(envelope: Envelope) -> bytearray:
    """Who has no other key."""
    raise AssertionError(envelope)


def test_a_blob_says_what_it_holds_and_how_new_that_is() -> None:
    blob = seal_blob(make_key(), HEADER, BlobType.PERMANENT, b"state")
    state, envelope = open_blob(make_key(), nobody, INSTANCE, BlobType.PERMANENT, blob)
    assert state == b"state"
    assert envelope.header == Header(INSTANCE, 7, "migration", DEK_ID, bytes(range(16)), 3, "lent")
    assert parse(blob).slots == make_key().slots


def test_a_blob_of_another_type_or_instance_is_refused() -> None:
    blob = seal_blob(make_key(), HEADER, BlobType.PERMANENT, b"state")
    with pytest.raises(EnvelopeError, match="not of type volatile"):
        open_blob(make_key(), nobody, INSTANCE, BlobType.VOLATILE, blob)
    with pytest.raises(EnvelopeError, match="belongs to instance"):
        open_blob(make_key(), nobody, UUID(int=1), BlobType.PERMANENT, blob)
