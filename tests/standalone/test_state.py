"""The state directory: encrypted, locked, kept, and never taken for what it is not."""

import stat
from pathlib import Path

import pytest

from tests.standalone.process import STARTED, Place, ended, terminate
from tests.state_files import PLACES, content_of, envelope_of, overwrite
from tests.worker.harness import FAILURE, INSTANCE, connect, control, directory, tpm
from vtpmd.kms.local.keys import LocalKeys
from vtpmd.kms.provider import KeyContext
from vtpmd.storage.key import Key
from vtpmd.storage.sealed import SealedState
from vtpmd.storage.state_files import create_state_files, opened_files

pytestmark = pytest.mark.slow

CMD_INIT, CMD_SHUTDOWN, CMD_GET_TPMESTABLISHED, CMD_SET_STATEBLOB, CMD_STOP = 2, 3, 4, 13, 14


def test_files_are_ours_alone_and_hold_no_plaintext(place: Place) -> None:
    terminate(place.serve(*STARTED))
    files = {path.name: path for path in place.state.iterdir()}
    assert set(files) == {"keyring", "lock", "nvram", "volatile", "incoming", "tpm2-00.permall"}
    files["tpm2-00.permall"].unlink()
    del files["tpm2-00.permall"]  # for swtpm's programs; no TPM depends on it
    terminate(place.serve(*STARTED))
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    sealed = content_of(files["nvram"])
    assert sealed is not None
    assert sealed.startswith(b"\xd8\x60"), "not a COSE_Encrypt message"
    assert b"default-v1" not in sealed


def test_one_process_at_a_time(place: Place, tmp_path: Path) -> None:
    process = place.serve(*STARTED)
    other = ("--ctrl", f"type=unixio,path={tmp_path}/c")
    assert f"in use by process {process.pid}" in place.refused(*other)
    assert "another process listens on" in place.refused(*place.sockets)
    with connect(place.control) as sock:
        sock.sendall(b"\0\0\0\1")
        assert sock.recv(8)[:4] == bytes(4), "the first one is not disturbed"


def test_a_lost_keyring_is_asked_for_not_replaced(place: Place) -> None:
    terminate(place.serve(*STARTED))
    keyring = place.state / "keyring"
    kept, sealed = keyring.read_bytes(), (place.state / "nvram").read_bytes()
    keyring.unlink()
    assert f"the keyring {keyring} is missing" in place.refused(*place.sockets)
    assert not keyring.exists()
    assert (place.state / "nvram").read_bytes() == sealed
    keyring.write_bytes(kept)
    keyring.chmod(0o644)
    assert "0044" in place.refused(*place.sockets)
    keyring.chmod(0o600)
    terminate(place.serve(*STARTED))


def init_refused(place: Place) -> str:
    """Serve what must not be powered on, by anybody; what the log says of it."""
    before = len(place.errors())
    process = place.serve()
    with connect(place.control) as sock:
        assert control(sock, CMD_INIT, bytes(4)).hex() == "00000009"
        assert control(sock, CMD_GET_TPMESTABLISHED, length=8)[:4].hex() == "0000000a"
        blob = (2).to_bytes(4) + (1).to_bytes(4) + (4).to_bytes(4) + b"blob"
        assert control(sock, CMD_SET_STATEBLOB, blob)[:4] != bytes(4)
        assert control(sock, CMD_INIT, bytes(4)).hex() == "00000009"
        assert control(sock, CMD_STOP) == bytes(4)
    with connect(place.data) as data:
        assert tpm(data, "80010000000c0000017b0010").hex() == FAILURE
    with connect(place.control) as sock:
        assert control(sock, CMD_SHUTDOWN) == bytes(4)
    assert ended(process) == 0
    said = place.refused(*place.sockets, "--flags", "not-need-init")
    assert not place.control.exists()
    return said + place.errors()[before:]


def test_damaged_state_is_refused_and_left_alone(place: Place) -> None:
    """As swtpm does it: who sends INIT hears an error, who wants no INIT hears it at once."""
    terminate(place.serve(*STARTED))
    nvram = place.state / "nvram"
    damaged = nvram.read_bytes()[:200]
    nvram.write_bytes(damaged)
    said = init_refused(place)
    assert said.count("truncated") >= 3  # at the start, at INIT, to the command, and the last time
    assert "TPM_CC_GET_RANDOM" in said
    assert nvram.read_bytes() == damaged


def test_a_state_that_is_whole_and_no_tpm_is_refused_too(place: Place) -> None:
    """What only the engine finds: a state of another kind, sealed as ours."""
    terminate(place.serve(*STARTED))
    keys, nvram = LocalKeys("local", place.state / "keyring"), place.state / "nvram"
    header, slots = envelope_of(nvram).header, envelope_of(nvram).slots
    dek = keys.unwrap(slots[0], KeyContext(header.uuid, header.dek_id))
    with directory(place.state) as fd, opened_files(fd) as files:
        state = SealedState.of(files, header.uuid, Key(dek, header.dek_id, slots))
        state.load()
        state.save(b"no TPM")
    stored = nvram.read_bytes()
    assert "state-refused" in init_refused(place)
    assert nvram.read_bytes() == stored


def test_an_empty_file_is_no_state_and_a_lost_one_no_empty_file(place: Place) -> None:
    """A first start that was cut short is begun again; a TPM that was there is never made anew."""
    nvram = place.state / "nvram"
    terminate(place.serve(*STARTED))
    dek_id = envelope_of(nvram).header.dek_id
    (place.state / "volatile").unlink()
    terminate(place.serve(*STARTED))
    assert envelope_of(nvram).header.dek_id == dek_id
    with directory(place.state) as fd:
        create_state_files(fd, INSTANCE, replace=True)
    terminate(place.serve(*STARTED))
    assert envelope_of(nvram).header.dek_id != dek_id
    for offset in PLACES:
        overwrite(nvram, bytes(512), offset)
    assert "neither of its places" in place.refused(*place.sockets, *STARTED)


def test_state_of_an_unreleased_version_is_refused_as_that(place: Place) -> None:
    terminate(place.serve(*STARTED))
    nvram = place.state / "nvram"
    sealed = content_of(nvram)
    assert sealed is not None
    nvram.write_bytes(sealed)
    assert "layout of an unreleased vtpmd" in place.refused(*place.sockets, *STARTED)
    assert nvram.read_bytes() == sealed


def test_a_directory_that_the_group_may_write_to_works_with_a_warning(place: Place) -> None:
    place.state.chmod(0o775)
    terminate(place.serve(*STARTED))
    assert "directory-shared" in place.errors()
    assert "chmod g-w" in place.errors()
    place.state.chmod(0o777)
    assert "has mode 0777; take 0002 away" in place.refused(*place.sockets)
    place.state.chmod(0o755)
    before = len(place.errors())
    terminate(place.serve(*STARTED))
    assert "directory-shared" not in place.errors()[before:]


def test_state_of_swtpm_beside_ours_is_never_touched(place: Place) -> None:
    terminate(place.serve(*STARTED))
    beside = place.state / "tpm2-00.permall"
    beside.write_bytes(b"somebody's TPM")
    terminate(place.serve(*STARTED))
    assert beside.read_bytes() == b"somebody's TPM"


@pytest.mark.parametrize("name", ["tpm2-00.permall", "tpm-00.permall"])
def test_swtpms_state_is_not_passed_over(place: Place, name: str) -> None:
    (place.state / name).write_bytes(b"somebody's TPM")
    assert f"holds state of swtpm ({name})" in place.refused(*place.sockets)
    assert {path.name for path in place.state.iterdir()} == {"lock", name}


def test_a_killed_process_leaves_a_state_that_serves(place: Place) -> None:
    process = place.serve(*STARTED)
    with connect(place.data) as data:
        assert len(tpm(data, "80010000000c0000017b0010")) == 28
    process.kill()
    process.wait()
    assert place.data.exists(), "nobody was there to remove it"
    terminate(place.serve(*STARTED))
    assert not place.data.exists()
