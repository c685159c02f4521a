"""`vtpmctl verify challenge` and `response`: the proof that a TPM has an attestation key."""

from pathlib import Path

from vtpmd.attest import activation, keys, records
from vtpmd.attest.records import Challenge
from vtpmd.attest.verdict import ASSUMPTION

from . import evidence, files
from .output import say, show_json

CREDENTIAL, CHALLENGE, PROOF = "credential.blob", "challenge.json", "ak.json"
_MAX_ANSWER = 1024


def challenge(ek_certificate: Path, roots: Path, ak: Path, directory: Path, as_json: bool) -> None:
    """Write a challenge for the AK of a certified TPM into a directory. Raises ClientError."""
    given = [evidence.read(path, keys.MAX_SIZE) for path in (ek_certificate, roots, ak)]
    with evidence.refusing("challenge"):
        made, credential = activation.new_challenge(*given)
    files.make_directory(directory)
    for name in (CREDENTIAL, CHALLENGE):
        files.check_absent(directory / name)
    files.write(directory / CREDENTIAL, credential)
    try:
        files.write(directory / CHALLENGE, made.encode())
    except BaseException:
        (directory / CREDENTIAL).unlink()  # no answer to it could be judged
        raise
    if as_json:
        names = {"credential": CREDENTIAL, "challenge": CHALLENGE}
        show_json({what: str(directory / name) for what, name in names.items()}
                  | {"ak_name": made.ak_name, "ek_certificate": made.ek_certificate})  # fmt: skip
        return
    say(f"{directory / CREDENTIAL} is for the machine, to be opened with tpm2_activatecredential.")
    say(f"  `vtpmctl verify response {directory} FILE` compares what comes of it.")


def response(directory: Path, answer: Path, as_json: bool) -> None:
    """Compare an answer, and write the proof if it is right. Raises ClientError."""
    made = evidence.parsed(directory / CHALLENGE, records.MAX_SIZE, Challenge.decode)
    given = evidence.read(answer, _MAX_ANSWER)
    with evidence.refusing(str(answer)):
        proof = activation.prove(made, given)
    files.write(directory / PROOF, proof.encode())
    if as_json:
        show_json({"file": str(directory / PROOF), "ak_name": proof.ak_name,
                   "ek_certificate": proof.ek_certificate, "proven": proof.proven,
                   "assumption": ASSUMPTION})  # fmt: skip
        return
    say(f"The TPM has this AK, whose Name is {proof.ak_name}: {directory / PROOF}.")
    say(f"  {ASSUMPTION}")
