"""Words that several kinds of messages have."""

from typing import Final, Literal

NO_NUMBER: Final = 0xFFFFFFFF
"""As a process id: the process has none here, being in another PID namespace."""

SandboxMode = Literal["require", "best-effort", "off"]
FailureKind = Literal[
    "key",
    "damaged",
    "newer",
    "wrong-instance",
    "storage",
    "sandbox",
    "model",
    "certificates",
    "busy",
    "defect",
    "unknown",
]
