"""A verifier and a real guest: enrolled, judged, and refused after another kernel."""

from pathlib import Path

import pytest

from tests.guest.emulator import Emulator
from tests.guest.test_boot import play

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("boot", ["direct", "disk"])
def test_another_kernel_is_refused(
    peer: str, boot: str, guest_image: Path, emulators: list[Emulator], short_path: Path
) -> None:
    if peer == "swtpm":
        pytest.skip("nobody certifies its keys")
    play("attest", "crb", guest_image, emulators, short_path, boot)
