"""What CMD_GET_INFO tells, in swtpm's words and bits."""

from enum import IntFlag

from vtpmd.tpm.engine import Facts


class Info(IntFlag):
    TPM_SPECIFICATION = 1 << 0
    TPM_ATTRIBUTES = 1 << 1
    TPM_FEATURES = 1 << 2
    ACTIVE_PROFILE = 1 << 5


def describe(facts: Facts, mask: int) -> dict[str, object]:
    """The JSON object for the bits in `mask`; bits that swtpm knows and we don't say nothing."""
    parts: dict[Info, tuple[str, object]] = {
        Info.TPM_SPECIFICATION: (
            "TPMSpecification",
            {"family": facts.family, "level": facts.level, "revision": facts.revision},
        ),
        Info.TPM_ATTRIBUTES: (
            "TPMAttributes",
            {
                "manufacturer": f"id:{facts.manufacturer}",
                "version": f"id:{facts.version}",
                "model": facts.model,
            },
        ),
        Info.TPM_FEATURES: (
            "TPMFeatures",
            {
                "RSAKeySizes": list(facts.rsa_key_sizes),
                "CamelliaKeySizes": list(facts.camellia_key_sizes),
            },
        ),
        Info.ACTIVE_PROFILE: ("ActiveProfile", {"Name": facts.profile}),
    }
    return {name: value for bit, (name, value) in parts.items() if mask & bit}
