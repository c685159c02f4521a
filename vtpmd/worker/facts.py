"""What an engine says of itself, for CMD_GET_INFO."""

from vtpmd.swtpm.info import Facts
from vtpmd.tpm.core.properties import FIRMWARE_VERSION, MANUFACTURER, SPECIFICATION_REVISION
from vtpmd.tpm.engine import Engine
from vtpmd.tpm.wire.constants import ALG


def facts_of(engine: Engine) -> Facts:
    """The facts of the TPM behind `engine`; they never change."""
    profile = engine.profile
    return Facts(
        revision=SPECIFICATION_REVISION,
        manufacturer=MANUFACTURER.hex().upper(),
        version=f"{FIRMWARE_VERSION[0]:08X}",
        model="vtpmd",
        rsa_key_sizes=tuple(sorted(profile.rsa_key_bits)),
        camellia_key_sizes=tuple(sorted(profile.key_bits.get(ALG.CAMELLIA, ()))),
        profile=profile.name,
    )
