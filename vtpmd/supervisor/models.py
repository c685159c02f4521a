"""Which TPMs can be made: what a request names is held against what the zygote reported."""

from collections.abc import Iterator, Sequence

from vtpmd.ipc.messages import ZygoteReady


class UnknownModelError(ValueError):
    """No TPM can be made with this profile or these PCR banks; the text says which there are."""


def demand_known(models: ZygoteReady, profile: str, pcr_banks: Sequence[str]) -> None:
    """Raise UnknownModelError unless profile and PCR banks are among `models`."""
    for setting, reason in unknown_models(models, profile, pcr_banks):
        raise UnknownModelError(f"{setting}: {reason}")


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
