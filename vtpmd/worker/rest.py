"""A TPM at rest: as if its machine had shut it down in order where its state was saved."""

from vtpmd.tpm.engine import Engine

from .sources import entropy, now


def at_rest(permanent: bytes, volatile: bytes | None) -> Engine:
    """A TPM from saved state, powered off, with TPM2_Shutdown(CLEAR) if none was in force.

    Raises StateError.
    """
    engine = Engine.restore(permanent, entropy, now)
    if volatile is not None:
        engine.power_on(volatile)
        if engine.shutdown_needed:
            engine.shutdown("clear")
        engine.power_off()
    return engine
