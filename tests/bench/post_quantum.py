"""What ML-KEM and ML-DSA cost in the engine, and as a multiple of the cryptography library alone.

    python -m tests.bench.post_quantum [--rounds N]

There is no peer to compare with. TPM2_Create does more than to make a key: what it takes without
one, in the first row, is part of every other. It is CPU time, of the engine in this process without
a worker around it, so that a busy machine matters little.
"""

import argparse
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import mldsa, mlkem

from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NO_DA, OWN, SIGN
from tests.tpm.harness import EnginePeer, Result, Tester, sized
from tests.tpm.raw import authorization, framed, with_sessions
from tests.tpm.seeded_keys import NULL_TICKET
from vtpmd.tpm.engine import Engine
from vtpmd.tpm.wire.constants import ALG, CC, MLDSA_PARMS, MLKEM_PARMS

Action = Callable[[], object]
_KEMS: dict[int, type[mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey]] = {
    MLKEM_PARMS.MLKEM_768: mlkem.MLKEM768PrivateKey,
    MLKEM_PARMS.MLKEM_1024: mlkem.MLKEM1024PrivateKey,
}
_SIGNERS: dict[
    int, type[mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey]
] = {
    MLDSA_PARMS.MLDSA_44: mldsa.MLDSA44PrivateKey,
    MLDSA_PARMS.MLDSA_65: mldsa.MLDSA65PrivateKey,
    MLDSA_PARMS.MLDSA_87: mldsa.MLDSA87PrivateKey,
}
_MU = bytes(range(64))
_NOTHING = 0.001
"""Milliseconds below which there is nothing to compare with."""


@dataclass(frozen=True)
class Row:
    """An operation: by the engine, and by the library."""

    name: str
    ours: Action
    library: Action


class _Tpm:
    """An engine that is given octets, without what the tests' harness compares."""

    def __init__(self) -> None:
        self._peer = EnginePeer.manufactured(profile="pqc-v1")
        self._peer.engine.buffer_size = self._peer.engine.buffer_sizes[1]
        self.tester = Tester(self._peer)
        assert self.tester.startup() == 0
        self.parent = areas.loaded_primary(self.tester, areas.storage())

    @property
    def engine(self) -> Engine:
        return self._peer.engine

    def action(self, command: bytes) -> Action:
        """Sends a command, which has to succeed."""

        def send() -> None:
            answer = self.engine.execute(command, 0).response
            assert answer[6:10] == bytes(4), answer.hex()

        return send

    def creation(self, template: bytes, data: bytes = b"") -> Action:
        """TPM2_Create below an ECC parent."""
        area, parameters = self.parent.to_bytes(4), areas.create_parameters(template, data=data)
        return self.action(with_sessions(CC.CREATE, area, [authorization()], parameters))


def _kem_rows(tpm: _Tpm, parms: MLKEM_PARMS) -> Iterator[Row]:
    template = areas.mlkem(OWN | DECRYPT | NO_DA, parms=parms)
    key = areas.loaded_primary(tpm.tester, template)
    private = _KEMS[parms].generate()
    public, area = private.public_key(), key.to_bytes(4)
    made = tpm.tester.run(CC.ENCAPSULATE, [key])
    _, ciphertext = public.encapsulate()
    decapsulation = with_sessions(CC.DECAPSULATE, area, [authorization()], sized(made.sized(1)))
    generated = lambda: _KEMS[parms].generate().public_key().public_bytes_raw()  # noqa: E731
    yield Row(f"{parms.name} Create", tpm.creation(template), generated)
    encapsulation = tpm.action(framed(CC.ENCAPSULATE, area))
    yield Row(f"{parms.name} Encapsulate", encapsulation, public.encapsulate)
    yield Row(
        f"{parms.name} Decapsulate",
        tpm.action(decapsulation),
        lambda: private.decapsulate(ciphertext),
    )
    areas.flush(tpm.tester, key)


def _signing_rows(tpm: _Tpm, parms: MLDSA_PARMS) -> Iterator[Row]:
    template = areas.mldsa(OWN | SIGN | NO_DA, parms=parms, external_mu=True)
    key = areas.loaded_primary(tpm.tester, template)
    private = _SIGNERS[parms].generate()
    public, area = private.public_key(), key.to_bytes(4)
    parameters = sized(b"") + sized(_MU) + NULL_TICKET
    signing = with_sessions(CC.SIGN_DIGEST, area, [authorization()], parameters)
    answer = tpm.engine.execute(signing, 0).response
    signature = Result(0, None, answer[14:]).parameters[: 2 + 2 + _size(answer)]
    verification = framed(CC.VERIFY_DIGEST_SIGNATURE, area + sized(b"") + sized(_MU) + signature)
    other = private.sign_mu(_MU)
    generated = lambda: _SIGNERS[parms].generate().public_key().public_bytes_raw()  # noqa: E731
    yield Row(f"{parms.name} Create", tpm.creation(template), generated)
    yield Row(f"{parms.name} SignDigest", tpm.action(signing), lambda: private.sign_mu(_MU))
    yield Row(
        f"{parms.name} VerifyDigestSignature",
        tpm.action(verification),
        lambda: public.verify_mu(other, _MU),
    )
    areas.flush(tpm.tester, key)


def _size(answer: bytes) -> int:
    """Octets of the signature in a response of TPM2_SignDigest."""
    alg, size = struct.unpack_from(">HH", answer, 14)
    assert alg == ALG.MLDSA
    return int(size)


def rows() -> Iterator[Row]:
    """All operations of all parameter sets; each is to be measured before the next is made."""
    tpm = _Tpm()
    sealed = tpm.creation(areas.keyedhash(areas.FIXED | areas.USER_AUTH | NO_DA), b"data")
    yield Row("Create of data", sealed, lambda: None)
    for kem in _KEMS:
        yield from _kem_rows(tpm, MLKEM_PARMS(kem))
    for signer in _SIGNERS:
        yield from _signing_rows(tpm, MLDSA_PARMS(signer))


def milliseconds(action: Action, rounds: int) -> float:
    """CPU time of one, on average."""
    action()
    begun = time.process_time()
    for _ in range(rounds):
        action()
    return (time.process_time() - begun) / rounds * 1000


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    print(f"{'':34}{'vtpmd ms':>11}{'alone ms':>11}{'multiple':>11}")
    for row in rows():
        ours, alone = milliseconds(row.ours, rounds), milliseconds(row.library, rounds)
        multiple = f"{ours / alone:.2f}" if alone > _NOTHING else "-"
        print(f"{row.name:34}{ours:>11.3f}{alone:>11.3f}{multiple:>11}")


if __name__ == "__main__":
    main()
