"""The tables of README.md that say what the TPM can do, made from the engine and the tests.

python -m tests.support_table           write them into README.md
"""

import re
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from sys import modules

from tests import documents
from tests.proofs import JUDGES, proofs
from tests.thirdparty import test_pytss
from vtpmd.tpm import commands  # noqa: F401 - registers every command
from vtpmd.tpm.command import COMMANDS, find
from vtpmd.tpm.profile import PROFILES, Profile
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, MLDSA_PARMS, MLKEM_PARMS

README = Path(__file__).parents[1] / "README.md"
_RUNNING = test_pytss.TESTS - test_pytss.SKIPPED
_PASSING = _RUNNING - len(test_pytss.DIFFERENCES)
HOW = "python -m tests.support_table"
_CHAPTER = re.compile(r"Part 3, chapter (\d+): (.+?)(?:;|\.|, [a-z]| \()")
_Describe = Callable[[Profile], str]
_MARKS = dict(zip(JUDGES, "strc", strict=True))


@cache
def _proofs() -> dict[str, set[str]]:
    return proofs({CC(code).name: code for code in COMMANDS})


def _proved(constant: str) -> str:
    judges = _proofs().get(constant, set())
    return "".join(mark for judge, mark in _MARKS.items() if judge in judges)


def _marked(kind: type[CC | ALG | ECC_CURVE], value: int) -> str:
    name = kind(value).name
    marks = _proved(f"{kind.__name__}.{name}")
    return f"{name} <sup>{marks}</sup>" if marks else name


def _chapters() -> dict[tuple[int, str], list[int]]:
    found: dict[tuple[int, str], list[int]] = {}
    for code, spec in sorted(COMMANDS.items(), key=lambda item: CC(item[0]).name):
        documented = _CHAPTER.match(modules[spec.action.__module__].__doc__ or "")
        assert documented, spec.action.__module__
        found.setdefault((int(documented[1]), documented[2]), []).append(code)
    return dict(sorted(found.items()))


def _command_rows() -> list[list[str]]:
    rows = []
    for (number, title), codes in _chapters().items():
        listed = ", ".join(_marked(CC, code) for code in codes)
        rows.append([f"{number} {title}", str(len(codes)), listed])
    return rows


def _sizes(profile: Profile, alg: int) -> str:
    sizes = sorted(profile.key_bits.get(alg, ()))
    return f" {'/'.join(map(str, sizes))}" if sizes else ""


def _algorithms(profile: Profile, which: Collection[int]) -> str:
    return ", ".join(_marked(ALG, alg) + _sizes(profile, alg) for alg in sorted(which)) or "none"


def _parameter_sets(profile: Profile) -> str:
    names = [MLKEM_PARMS(parms).name for parms in sorted(profile.mlkem_parms)]
    names += [MLDSA_PARMS(parms).name for parms in sorted(profile.mldsa_parms)]
    return ", ".join(names) or "none"


def _profile_rows() -> list[list[str]]:
    kinds: dict[str, _Describe] = {
        "objects": lambda profile: _algorithms(profile, profile.object_types),
        "hashes": lambda profile: _algorithms(profile, profile.hash_algs),
        "PCR banks": lambda profile: _algorithms(profile, profile.pcr_banks),
        "block ciphers": lambda profile: _algorithms(profile, profile.block_ciphers),
        "modes": lambda profile: _algorithms(profile, profile.symmetric_modes),
        "signatures": lambda profile: _algorithms(profile, profile.sig_schemes),
        "RSA encryption": lambda profile: _algorithms(profile, profile.rsa_decrypt_schemes),
        "key exchange": lambda profile: _algorithms(profile, profile.ecc_key_exchanges),
        "key derivation": lambda profile: _algorithms(profile, profile.kdfs),
        "curves": lambda profile: ", ".join(
            _marked(ECC_CURVE, curve) for curve in sorted(profile.ecc_curves)
        ),
        "parameter sets": _parameter_sets,
        "commands": lambda profile: str(sum(find(code, profile) is not None for code in COMMANDS)),
    }
    default, *others = PROFILES.values()
    rows = []
    for kind, describe in kinds.items():
        standard = describe(default)
        cells = [standard]
        cells += ["the same" if (cell := describe(other)) == standard else cell for other in others]
        rows.append([kind, *cells])
    return rows


def table() -> str:
    """What is between the markers."""
    return "\n".join(
        [
            f"{len(COMMANDS)} commands of TPM 2.0 Library version 185, by the names of TPM_CC. The",
            "letters say who has the last word in their tests, as the tests' sources show:",
            "**s** a real swtpm that is given the same commands, **t** tpm2-tools,",
            "**r** traffic recorded with tpm2-tss, **c** hashlib, hmac, pyca `cryptography`,",
            "kyber-py or dilithium-py, which compute or verify what the TPM makes.",
            "Of tpm2-pytss' tests that Debian's",
            f"tpm2-tss can run, {_PASSING} of {_RUNNING} pass.",
            "",
            documents.table(["chapter of Part 3", "", "commands"], _command_rows()),
            "",
            "A profile is chosen when a TPM is made (`vtpmctl create --profile fips-v1`), and",
            "never changes after that. It may be restricted: `--profile 'default-v1 without SHA1",
            "RSA-4096 NIST_P521 CC_CLEAR'` leaves out algorithms, key sizes, curves, commands.",
            "",
            documents.table(["", *(f"`{name}`" for name in PROFILES)], _profile_rows()),
        ]
    )


def renewed(readme: str) -> str:
    """README.md with the tables as they should be."""
    return documents.renewed(readme, "support table", table())


if __name__ == "__main__":
    README.write_text(renewed(README.read_text()))
