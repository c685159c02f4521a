"""Words that several kinds of messages have."""

from typing import Literal

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
