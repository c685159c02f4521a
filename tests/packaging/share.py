"""Writes what packages and the wheel put below `share`: man pages and completions.

python -m tests.packaging.share
"""

import shutil
from pathlib import Path

from tests.packaging.manual import commands, settings
from vtpmd.cli import swtpm, vtpmctl, vtpmd
from vtpmd.cli.verbs.completion import script

ROOT = Path(__file__).parents[2]
SHARE = ROOT / "packaging/share"
COMPLETIONS = {
    "bash": "bash-completion/completions/vtpmctl",
    "zsh": "zsh/site-functions/_vtpmctl",
    "fish": "fish/vendor_completions.d/vtpmctl.fish",
}


def files() -> dict[str, str]:
    """Each file below `share` with its content."""
    pages = [
        *commands.vtpmctl(vtpmctl.main),
        commands.program(vtpmd.main, "vtpmd", (vtpmd.EXIT_STATUSES,)),
        commands.program(swtpm.main, "vtpmd-swtpm"),
        settings.page((ROOT / "config/vtpmd.yaml").read_text()),
    ]
    made = {f"man/man{section}/{name}.{section}": content for name, section, content in pages}
    return made | {path: script(shell).strip() + "\n" for shell, path in COMPLETIONS.items()}


def main() -> None:
    shutil.rmtree(SHARE, ignore_errors=True)
    for name, content in files().items():
        (SHARE / name).parent.mkdir(parents=True, exist_ok=True)
        (SHARE / name).write_text(content)


if __name__ == "__main__":
    main()
