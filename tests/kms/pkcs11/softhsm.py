"""SoftHSM's tokens, and a module that behaves like SoftHSM until it is told otherwise."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PIN = "4711-secret-pin"
OFFICER_PIN = "0815-officer"
LABEL = "vtpmd test"
_MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
)


def module() -> Path:
    """SoftHSM's module; skips the test where there is none."""
    for path in _MODULES:
        if path.exists() and shutil.which("softhsm2-util"):
            return path
    pytest.skip("SoftHSM is not installed")


@dataclass(frozen=True)
class Token:
    """A token in `directory` with the label `label`."""

    directory: Path
    label: str = LABEL

    @classmethod
    def initialised(cls, directory: Path, label: str = LABEL) -> "Token":
        """A fresh token, next to others in the directory."""
        (directory / "tokens").mkdir(exist_ok=True)
        (directory / "softhsm2.conf").write_text(
            f"directories.tokendir = {directory / 'tokens'}\n"
            "objectstore.backend = file\nlog.level = ERROR\n"
        )
        token = cls(directory, label)
        token._run(
            "softhsm2-util", "--init-token", "--free", "--label", label,
            "--pin", PIN, "--so-pin", OFFICER_PIN,
        )  # fmt: skip
        return token

    @property
    def environment(self) -> dict[str, str]:
        """What SoftHSM's module must find."""
        return {"SOFTHSM2_CONF": str(self.directory / "softhsm2.conf")}

    def keys(self, prefix: str = "") -> list[dict[str, Any]]:
        """The attributes of the keys whose labels begin so, by label."""
        found: list[dict[str, Any]] = self._officer("list", prefix)
        return found

    def import_key(self, label: str, key: bytes, **attributes: object) -> None:
        """Put a key there, made to stay there unless `attributes` say otherwise."""
        self._officer("import", label, key.hex(), json.dumps(attributes))

    def set(self, prefix: str, **attributes: object) -> None:
        """Change attributes of keys."""
        assert self._officer("set", prefix, json.dumps(attributes))

    def destroy(self, prefix: str) -> None:
        """Destroy keys."""
        assert self._officer("destroy", prefix)

    def set_pin(self, pin: str) -> None:
        """Set the user's PIN anew, as the security officer."""
        self._officer("pin", pin, secret=OFFICER_PIN)

    def _officer(self, *arguments: str, secret: str = PIN) -> Any:
        script = str(Path(__file__).with_name("officer.py"))
        return json.loads(
            self._run(sys.executable, script, str(module()), self.label, secret, *arguments)
        )

    def _run(self, *command: str) -> bytes:
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


@dataclass(frozen=True)
class Faulty:
    """The module of `faulty.c`: SoftHSM's, with orders for single functions."""

    path: Path
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """What it must find, besides what SoftHSM's must."""
        return {
            "FAULTY_MODULE": str(module()),
            "FAULTY_CALLS": str(self.directory / "calls"),
            "FAULTY_ORDERS": str(self.directory / "orders"),
        }

    def order(self, *orders: str) -> None:
        """Replace all orders; they hold at once."""
        fresh = self.directory / "orders.new"
        fresh.write_text("".join(f"{order}\n" for order in orders))
        fresh.rename(self.directory / "orders")

    def calls(self, function: str) -> int:
        """How often a function was called."""
        calls = self.directory / "calls"
        return calls.read_text().split("\n").count(function) if calls.exists() else 0


def build(directory: Path) -> Path:
    """Compile `faulty.c`; skips the test where that is not possible."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = directory / "faulty.so"
    source = Path(__file__).with_name("faulty.c")
    subprocess.run(
        [compiler, "-std=gnu11", "-w", "-shared", "-fPIC", "-o", library, source, "-ldl"],
        check=True,
    )
    return library
