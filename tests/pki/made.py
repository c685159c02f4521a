"""Authorities that are made for a test."""

from uuid import UUID

from cryptography import x509

from vtpmd.pki import authority, private_key
from vtpmd.pki.authority import Issuer
from vtpmd.pki.private_key import Key
from vtpmd.pki.store import Public, Secrets


def new_key() -> Key:
    """A key for an authority."""
    return private_key.load(private_key.generate())


def make(uuid: UUID) -> tuple[x509.Certificate, Issuer]:
    """A root, and an issuer below it."""
    return authority.make(uuid, new_key(), new_key())


def make_with_secrets(uuid: UUID) -> tuple[Public, Secrets]:
    """What is public of an authority, and its keys."""
    secrets = Secrets(private_key.generate(), (private_key.generate(),))
    root, issuer = authority.make(
        uuid, private_key.load(secrets.root), private_key.load(secrets.issuers[0])
    )
    return Public(uuid, root, (issuer.chain,)), secrets
