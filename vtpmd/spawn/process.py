"""Starting the processes that need nobody's secrets: zygotes, the keeper, trials of the sandbox."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence

# What a Python needs of its environment. The rest may hold a key service's credentials, which are
# no business of processes that guests talk to.
_ENVIRONMENT = re.compile(r"PYTHON\w*|PATH|LD_LIBRARY_PATH|LANG|LC_\w+|TZ")
# -P: nothing is imported from the working directory.
_PYTHON = (sys.executable, "-P", "-m")
_TRIAL_TIMEOUT = 30.0


def start_zygote(fd: int, options: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
    """Start a zygote that speaks on this descriptor. Raises OSError."""
    return subprocess.Popen(
        [*_PYTHON, "vtpmd.worker.zygote", str(fd), *options],
        stdin=subprocess.DEVNULL,
        env=_innocuous(os.environ),
        pass_fds=[fd],
    )


def start_keeper(fds: Sequence[int]) -> int:
    """Start a keeper that has these descriptors, and outlives this process; its process id.

    They are those of `vtpmd.keeper.__main__`. Raises OSError.
    """
    return os.posix_spawn(
        sys.executable,
        [*_PYTHON, "vtpmd.keeper", *map(str, fds)],
        _innocuous(os.environ),
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, fd) for fd in fds],
        setsid=True,
    )


def try_sandbox(mode: str) -> tuple[dict[str, str], str]:
    """What of a worker's sandbox would be in force here, part by part, and why it is refused.

    The latter is empty if it is not. Raises OSError if no process can be started for the trial.
    """
    try:
        done = subprocess.run(
            [*_PYTHON, "vtpmd.worker.trial", mode],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_TIMEOUT,
            env=_innocuous(os.environ),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(0, f"the trial took more than {_TRIAL_TIMEOUT:.0f} s") from None
    try:
        found = json.loads(done.stdout)
        return dict(found["active"]), str(found["refused"])
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.decode(errors="replace").splitlines()
        return {}, lines[-1] if lines else f"the trial ended with status {done.returncode}"


def _innocuous(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if _ENVIRONMENT.fullmatch(name)}
