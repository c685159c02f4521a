"""What is shown again and again until somebody has seen enough."""

import sys
import time
from collections.abc import Callable

import click

_CLEAR = "\x1b[H\x1b[2J"

times_option = click.option(
    "-n", "--times", type=click.IntRange(1), help="End after so many, instead of Ctrl-C."
)
interval_option = click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between two.",
)


def again_and_again(show: Callable[[], None], seconds: float, times: int | None) -> None:
    """Call `show` every so many seconds, on a terminal always on an empty screen."""
    shown = 0
    while True:
        if sys.stdout.isatty():
            click.echo(_CLEAR, nl=False)
        show()
        sys.stdout.flush()
        shown += 1
        if shown == times:
            return
        time.sleep(seconds)
