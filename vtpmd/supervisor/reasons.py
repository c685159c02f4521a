"""What people are told of an instance that is served."""

from typing import Final

READY: Final = "ready: QEMU can connect"
AWAITING: Final = "waits for its TPM, which comes with its migrating machine"
SLEEPS: Final = "asleep, as nobody uses it: whoever does wakes it"
ADOPTED: Final = "served on by a worker that outlived its daemon"
POWERED_OFF: Final = (
    "its TPM is off until its machine is reset, or the instance is stopped and started"
)
