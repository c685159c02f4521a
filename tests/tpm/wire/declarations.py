"""Everything that vtpmd.tpm.wire declares, by name."""

from typing import Any

from vtpmd.tpm.profile import PROFILES
from vtpmd.tpm.wire import (
    algorithms,
    attest,
    attributes,
    base,
    capabilities,
    context,
    creation,
    interface,
    nv,
    objects,
)
from vtpmd.tpm.wire.structure import Structure, kind_of

PROFILE = PROFILES["pqc-v1"]

MODULES = (
    algorithms,
    attest,
    attributes,
    base,
    capabilities,
    context,
    creation,
    interface,
    nv,
    objects,
)


def _has_kind(hint: Any) -> bool:
    try:
        kind_of(hint)
    except TypeError:
        return False
    return True


HINTS: dict[str, Any] = {
    name: hint
    for module in MODULES
    for name, hint in vars(module).items()
    if name.isupper() and not name.startswith("_") and hint is not Structure and _has_kind(hint)
}

# What the union of its use decides can't be read alone; nor is TDES or SM4 in the profile.
ALONE = {
    name: hint
    for name, hint in HINTS.items()
    if not name.startswith("TPMU_") and name not in {"TPMI_TDES_KEY_BITS", "TPMI_SM4_KEY_BITS"}
}

STRUCTURES: dict[str, type[Structure]] = {
    name: hint
    for name, hint in HINTS.items()
    if isinstance(hint, type) and issubclass(hint, Structure)
}
