"""Key providers are closed when the daemon ends, each whatever another one does."""

from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from tests.supervisor.harness import Daemon
from tests.supervisor.stage import FakeProvider
from vtpmd.supervisor.keys import CLOSE_TIMEOUT, Keys

PACKAGE = """
from pathlib import Path

from vtpmd.kms.settings import ProviderSettings


class AcmeSettings(ProviderSettings):
    note: str

    def open(self, state_dir):
        return Provider(self.name, Path(self.note))


class Provider:
    type = "acme"

    def __init__(self, name, note):
        self.name, self._note = name, note

    async def initialise(self):
        self._note.write_text("open")

    async def aclose(self):
        self._note.write_text(self._note.read_text() + ", closed")
"""


class Hanging(FakeProvider):
    async def aclose(self) -> None:
        await trio.sleep_forever()


async def test_a_provider_that_fails_or_hangs_keeps_no_other_from_being_closed(
    autojump_clock: trio.abc.Clock,
) -> None:
    failing, hanging, good = FakeProvider("failing"), Hanging("hanging"), FakeProvider("good")
    failing.fault = OSError("broken")
    started = trio.current_time()
    with capture_logs() as logs:
        await Keys({each.name: each for each in (failing, hanging, good)}, None).aclose()
    assert good.closed
    assert trio.current_time() - started == pytest.approx(CLOSE_TIMEOUT)
    reasons = {line["provider"]: line["reason"] for line in logs}
    assert reasons == {"failing": "broken", "hanging": "it took longer than 5 s"}


@pytest.mark.served
def test_the_daemon_closes_its_providers_at_its_end(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = root / "packages" / "acme_vtpmd-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-vtpmd\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[vtpmd.key_providers]\nacme = acme_vtpmd:AcmeSettings\n"
    )
    (root / "packages" / "acme_vtpmd.py").write_text(PACKAGE)
    monkeypatch.setenv("PYTHONPATH", str(root / "packages"), prepend=":")
    note = root / "note"
    daemon = Daemon(root, f"key_providers: [{{type: acme, name: dc1, note: {note}}}]")
    assert note.read_text() == "open"
    # The moment it is ready it heeds signals.
    assert daemon.end() == 0, daemon.log()
    assert note.read_text() == "open, closed"
