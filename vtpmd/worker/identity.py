"""Who a TPM is, told to the supervisor, and the certificates that come back."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from vtpmd.ipc.identity import (
    Certified,
    Certify,
    Complete,
    Identity,
    Installed,
    Made,
    NotCertified,
    Recertify,
    Reported,
)
from vtpmd.ipc.messages import (
    Message,
)
from vtpmd.tpm.engine import Engine, IdentityError, Reply

from .handover import AWAY
from .instance import Instance


def of(
    engine: Engine,
    kinds: Sequence[str],
    subject: str | None = None,
    moduli: Mapping[str, int] = MappingProxyType({}),
) -> Identity:
    """Who a TPM is, with EKs of these kinds as far as it has them.

    With a `subject`, which may be empty, also with requests for their certificates. `moduli`: what
    are thought to be those of RSA keys.
    """
    facts, keys = engine.facts, engine.endorsement_keys(kinds, moduli)
    return Identity(
        seed=engine.seed_name,
        reported=Reported(
            manufacturer=facts.manufacturer,
            model=facts.model,
            version=facts.version,
            family=facts.family,
            level=facts.level,
            revision=facts.revision,
        ),
        keys={kind: key.public_key for kind, key in keys.items()},
        names={kind: key.name for kind, key in keys.items()},
        requests={
            kind: engine.certificate_request(kind, subject) for kind in keys if subject is not None
        },
        installed=engine.installed_certificates(),
    )


def complete(engine: Engine, kinds: Sequence[str], ask: Callable[[Message], Message]) -> None:
    """Tell who a new TPM is, and put in the certificates that `ask` gets for that.

    Raises IdentityError.
    """
    if not kinds:
        return
    order = ask(Made(of(engine, kinds)))
    assert isinstance(order, Complete)
    engine.install_certificates(order.certificates, order.chain)


def install(engine: Engine, order: Certify | Recertify) -> Reply:
    """Put certificates into the TPM they are for. Raises IdentityError."""
    if engine.seed_name != order.seed:
        raise IdentityError("its endorsement primary seed is not the one they were made for")
    return engine.install_certificates(order.certificates, order.chain)


def installed(instance: Instance) -> Installed:
    """What is in NV."""
    engine = instance.execution.engine
    return Installed(engine.seed_name, engine.installed_certificates())


def certify(order: Certify, instance: Instance) -> Message:
    """Replace the certificates of a TPM that is served, durably; between two commands."""
    execution = instance.execution
    if execution.possession.handover.state == "away":
        return NotCertified("certificates", AWAY)
    if reason := execution.unsettled:
        return NotCertified("certificates", reason)
    execution.check_space()
    try:
        reply = install(execution.engine, order)
    except IdentityError as error:
        return NotCertified("certificates", str(error))
    if execution.settle_now(reply):
        return NotCertified("storage", "the new state could not be stored")
    return Certified(instance.generation)
