"""What `systemctl` does for the unit of vtpmd where systemd does not run.

The unit's user, directories, credentials and environment are taken from the unit and its drop-ins
as they are installed; its sandbox is not. Other units are left alone, as if they had restarted.
"""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

UNIT = "vtpmd"
UNITS = Path("/etc/systemd/system")
PLACE = Path("/run/systemctl")
CREDENTIALS = Path("/run/credentials/vtpmd.service")
_DIRECTORIES = (("state", "/var/lib"), ("runtime", "/run"), ("logs", "/var/log"))


def settings(name: str) -> list[str]:
    """The values of a setting in the unit and its drop-ins."""
    files = [UNITS / "vtpmd.service", *sorted((UNITS / "vtpmd.service.d").glob("*.conf"))]
    text = "\n".join(file.read_text() for file in files)
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def start() -> None:
    """Start the daemon, and return when it is ready."""
    PLACE.mkdir(exist_ok=True)
    (user,) = settings("User")
    for kind, place in _DIRECTORIES:
        (name,) = settings(f"{kind.capitalize()}Directory")
        (mode,) = settings(f"{kind.capitalize()}DirectoryMode")
        directory = Path(place, name)
        directory.mkdir(mode=int(mode, 8), exist_ok=True)
        shutil.chown(directory, user, user)
    environment = dict(os.environ, CREDENTIALS_DIRECTORY=str(credentials(user)))
    environment |= dict(value.split("=", 1) for value in settings("Environment"))
    address = PLACE / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(address))
        address.chmod(0o777)
        with (PLACE / "log").open("ab") as log:
            process = subprocess.Popen(
                settings("ExecStart")[-1].split(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user,
                group=user,
                extra_groups=[],
                cwd="/",
                umask=int(settings("UMask")[-1], 8),
                env=environment | {"NOTIFY_SOCKET": str(address)},
                start_new_session=True,
            )
        ended = os.pidfd_open(process.pid)
        said, _, _ = select.select([notifications.fileno(), ended], [], [], 60)
        if notifications.fileno() not in said or b"READY=1" not in notifications.recv(4096):
            sys.exit(f"vtpmd.service has failed: {(PLACE / 'log').read_text()}")
    (PLACE / "pid").write_text(str(process.pid))


def credentials(user: str) -> Path:
    """Put the unit's credentials where the daemon finds them."""
    shutil.rmtree(CREDENTIALS, ignore_errors=True)
    CREDENTIALS.mkdir(parents=True)
    for value in settings("LoadCredential"):
        name, path = value.split(":")
        (CREDENTIALS / name).write_bytes(Path(path).read_bytes())
    for value in settings("LoadCredentialEncrypted"):
        name, path = value.split(":")
        subprocess.run(
            ["systemd-creds", "decrypt", f"--name={name}", path, CREDENTIALS / name], check=True
        )
    for file in CREDENTIALS.iterdir():
        shutil.chown(file, user, user)
        file.chmod(0o400)
    return CREDENTIALS


def stop() -> None:
    """End the daemon alone, as KillMode=process does, and return when it has."""
    ended = os.pidfd_open(int((PLACE / "pid").read_text()))
    signal.pidfd_send_signal(ended, signal.SIGTERM)
    select.select([ended], [], [], 60)
    (PLACE / "pid").unlink()


def reload() -> None:
    """Let the daemon read its configuration anew, and return when it says what came of it."""
    log = PLACE / "log"
    before = log.stat().st_size
    os.kill(int((PLACE / "pid").read_text()), signal.SIGHUP)
    deadline = time.monotonic() + 60
    while not re.search(rb'"(?:reloaded|not-reloaded|restart-needed)"', log.read_bytes()[before:]):
        if time.monotonic() > deadline:
            sys.exit("vtpmd.service has not reloaded")
        time.sleep(0.01)


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    verb, units = arguments[0], [name.removesuffix(".service") for name in arguments[1:]]
    if verb == "daemon-reload":
        return
    if UNIT not in units:
        print(f"{verb} {' '.join(units)}: left out", file=sys.stderr)
        return
    running = (PLACE / "pid").exists()
    if verb in ("stop", "disable", "restart") and running:
        stop()
    if verb == "restart" or (verb in ("start", "enable") and not running):
        start()
    if verb == "reload":
        reload()


if __name__ == "__main__":
    main()
