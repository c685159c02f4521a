"""A trial of the sandbox: `python -m vtpmd.worker.trial MODE`.

Closes it over this process as over a worker, and prints as JSON what is `active`, part by part, and
why it was `refused`, which is empty if it was not.
"""

import json
import os
import sys
from typing import cast, get_args

from vtpmd.ipc.messages import SandboxMode

from .errors import SandboxError
from .sandbox import Sandbox


def main() -> None:
    """Try it. ValueError for no mode."""
    mode = sys.argv[1]
    if mode not in get_args(SandboxMode):
        raise ValueError(f"no mode of the sandbox: {mode}")
    sandbox, refused = Sandbox(cast(SandboxMode, mode)), ""
    try:
        sandbox.confine()
        sandbox.seal()
    except SandboxError as error:
        refused = str(error)
    os.write(1, json.dumps({"active": sandbox.active, "refused": refused}).encode())
    os._exit(0)  # what Python does at its end need not be permitted


if __name__ == "__main__":
    main()
