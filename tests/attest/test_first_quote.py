"""The first quote that a process judges costs what every quote does: all is compiled before."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.attest import made
from tests.attest.made import NONCE, Machine

JUDGE = """
import sys
from pathlib import Path
from vtpmd.attest.trust import AttestationKey
from vtpmd.attest.verify import Demands, Evidence, verify_quote

here, done = Path(sys.argv[1]), []
names = "ak", "message", "signature", "pcrs", "log"
public, *files = [(here / name).read_bytes() for name in names]

def note(event, details):
    if event == "import" or (event == "compile" and not details[1].startswith(PARTS)):
        done.append(event)

PARTS = "<wire read", "<wire write"  # arms of a union, a line each
sys.addaudithook(note)
ak = AttestationKey.read(public)
verdict = verify_quote(Evidence(*files), ak.named(ak.key.name), Demands(bytes.fromhex(sys.argv[2])))
print(int(verdict.status), done)
"""


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_it_compiles_no_structure_and_imports_nothing(tmp_path: Path, kind: str) -> None:
    machine = Machine(kind=kind)
    message, signature = machine.quote()
    contents = {
        "ak": made.sized(machine.public),
        "message": message,
        "signature": signature,
        "pcrs": machine.bare_values,
        "log": machine.log,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-c", JUDGE, str(tmp_path), NONCE.hex()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0 []\n", "")
