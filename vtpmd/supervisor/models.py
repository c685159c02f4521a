"""Which TPMs can be made and read: what is named is held against what the zygote reported."""

from collections.abc import Collection, Iterator, Sequence

from vtpmd.ipc.messages import ZygoteReady


class UnknownModelError(ValueError):
    """No TPM can be made with this profile or these PCR banks; the text says which there are."""


def demand_known(models: ZygoteReady, profile: str, pcr_banks: Sequence[str]) -> None:
    """Raise UnknownModelError unless profile and PCR banks are among `models`."""
    for setting, reason in unknown_models(models, profile, pcr_banks):
        raise UnknownModelError(f"{setting}: {reason}")


def unreadable(models: ZygoteReady, version: int, fields: Collection[str]) -> str | None:
    """Why `models`' engine can't read a state of this version with these fields; None if it can.

    The rule is that of the engine, which refuses a state of a newer version and unknown fields of
    what it knows (`vtpmd/tpm/schema.py`).
    """
    if version > models.state_version:
        return f"version {version}, and version {models.state_version} is the newest that it reads"
    known = {*models.state_fields, *models.retired_fields}
    classes = {_class(name) for name in known}
    unknown = sorted(name for name in set(fields) - known if _class(name) in classes)
    return f"the unknown fields {', '.join(unknown)}" if unknown else None


def _class(name: str) -> str:
    return name.partition(".")[0]


def unknown_models(
    models: ZygoteReady, profile: str, pcr_banks: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Which of the two settings names something that is not among `models`, and what is.

    What a profile is to lack (behind its "without") is left to the worker that makes the TPM.
    """
    base, _, _ = profile.partition(" without ")
    if base not in models.profiles:
        yield "profile", f"the profiles are {', '.join(models.profiles)}"
    if not set(pcr_banks) <= set(models.pcr_banks):
        yield "pcr_banks", f"the PCR banks are {', '.join(models.pcr_banks)}"
