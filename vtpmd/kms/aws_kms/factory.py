"""Makes the key provider ``aws-kms``, if what it needs is installed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtpmd.config import schema
from vtpmd.kms.provider import ConfigurationRefused, KeyProvider
from vtpmd.kms.settings import checked


def from_settings(name: str, settings: Mapping[str, Any], state: Path) -> KeyProvider:
    """Make a provider from what ``config.schema.AwsKmsProvider`` describes.

    Raises ConfigurationRefused, also without the optional packages of ``vtpmd[aws]``.
    """
    entry = checked(schema.AwsKmsProvider, "aws-kms", name, settings)
    try:
        from vtpmd.kms.aws_kms.client import Client, Service
        from vtpmd.kms.aws_kms.provider import AwsKmsProvider
    except ModuleNotFoundError as error:
        raise ConfigurationRefused(
            f"key provider {name}: type aws-kms needs the package {error.name}: install vtpmd[aws]"
        ) from None
    service = Service(entry.region, entry.timeout, entry.endpoint, entry.ca, entry.profile)
    return AwsKmsProvider(name, Client(service), entry.key_prefix, entry.key_name)
