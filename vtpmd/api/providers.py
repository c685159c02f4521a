"""Requests and reports about key providers and their keys; part of `schema`."""

from dataclasses import field

from .base import Report, Request


class BackupRequest(Request):
    """The passphrase that will open a backup of keys."""

    passphrase: str = field(repr=False)


class BackupNote(Request):
    """Which KEK versions are in a backup that has been written."""

    key_versions: tuple[str, ...]


class KeyImportRequest(Request):
    """A backup of keys (base64) and its passphrase."""

    backup: str = field(repr=False)
    passphrase: str = field(repr=False)


class ProviderInfo(Report):
    """A configured key provider and whether it can be used now."""

    name: str
    type: str
    default: bool
    recovery: bool
    available: bool
    reason: str


class ProviderDetails(ProviderInfo):
    """`instances`: how many have their key there; `description`: what the provider reports."""

    instances: int
    description: dict[str, object]


class ProviderList(Report):
    """`not_configured`: providers that instances need and the configuration lacks."""

    providers: tuple[ProviderDetails, ...]
    not_configured: tuple[str, ...]


class RotateResult(Report):
    """The KEK version that wraps from now on; instances get it when they are rekeyed."""

    provider: str
    key_version: str


class KeyringBackup(Report):
    """The content of a backup file (base64) and the KEK versions in it."""

    backup: str
    key_versions: tuple[str, ...]


class KeyImportResult(Report):
    """How many KEK versions were new to a provider."""

    provider: str
    added: int
