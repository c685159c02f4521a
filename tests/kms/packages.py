"""Third-party packages as an installer leaves them, without the network that it may need."""

from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path


def note_installed(
    directory: Path, name: str, version: str, entry_points: Mapping[str, Mapping[str, str]]
) -> None:
    """Write what importlib.metadata reads of a package whose modules are in `directory`.

    `entry_points` maps a group to its entry points, as in pyproject.toml.
    """
    metadata = directory / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    header = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (metadata / "METADATA").write_text(header)
    points = ConfigParser(interpolation=None)
    points.read_dict(entry_points)
    with (metadata / "entry_points.txt").open("w") as file:
        points.write(file)
