"""sd_notify(3): tell the service manager how the daemon is."""

import os
import socket
import time


def notify(state: str) -> None:
    """Send one notification (`READY=1`, `STATUS=…`); nothing happens without a manager."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            return  # a manager that is gone or busy must not stop the daemon


def notify_reloading() -> None:
    """Say that the configuration is read anew, until `READY=1` (Type=notify-reload has it so)."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval() -> float | None:
    """Seconds between two `WATCHDOG=1`, half of what the manager allows; None without one."""
    allowed = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(allowed) / 2e6 if mine and allowed.isdecimal() and int(allowed) > 0 else None
