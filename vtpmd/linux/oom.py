"""Which process the kernel kills first when memory runs out (proc(5), oom_score_adj).

Raises OSError.
"""

from pathlib import Path

_ADJUSTMENT = Path("/proc/self/oom_score_adj")
_MAX = 1000


def prefer(raised: int) -> None:
    """Have this process, and those it forks, ended rather than others, by `raised` thousandths.

    Raising needs no privilege. It must be done before tracing is forbidden, which makes the file
    root's.
    """
    now = int(_ADJUSTMENT.read_text())
    _ADJUSTMENT.write_text(str(min(_MAX, now + raised)))
