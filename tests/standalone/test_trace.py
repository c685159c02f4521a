"""What the log tells of requests: at level 5 each, at level 0 why one was answered 0x101."""

import re
from pathlib import Path

import pytest

from tests.standalone.process import STARTED, Place, command, terminate
from tests.standalone.test_serving import CMD_INIT, READ_CLOCK, ioctl, tool
from tests.worker.harness import FAILURE, GET_RANDOM_16, Qemu, connect, control, tpm

SET_LOCALITY_2 = "80010000000b2000100002"
CMD_STOP = 14


def lines(place: Place, event: str) -> list[str]:
    return [line for line in place.log.read_text().splitlines() if f" {event} " in line]


@pytest.mark.slow
def test_level_5_names_commands_and_codes_and_never_contents(place: Place) -> None:
    secret = "correct-horse-battery"
    process = place.serve(*STARTED, "--log", f"file={place.log},level=5")
    tcti = f"swtpm:path={place.data}"
    tool(tcti, f"nvdefine 0x1500001 -C o -s 21 -p {secret}")
    tool(tcti, f"nvwrite 0x1500001 -P {secret} -i -", given=secret)
    assert tool(tcti, f"nvread 0x1500001 -P {secret}") == secret
    with connect(place.data) as data:
        assert tpm(data, "80010000000b0000017b00").hex() == "80010000000a000001da"
    assert terminate(process) == 0
    told = [
        (_field(line, "command"), _field(line, "response")) for line in lines(place, "tpm-command")
    ]
    assert ("TPM_CC_NV_WRITE", "TPM_RC_SUCCESS") in told
    assert ("TPM_CC_GET_RANDOM", "TPM_RC_INSUFFICIENT (parameter 1)") in told
    assert "GET_CAPABILITY" in {_field(line, "command") for line in lines(place, "control-command")}
    written = place.log.read_bytes()
    for octets in (secret.encode(), secret.encode().hex().encode(), secret[:8].encode()):
        assert octets not in written


def _field(line: str, name: str) -> str:
    found = re.search(rf"{name}=('[^']*'|\S+)", line)
    assert found is not None, line
    return found[1].strip("'")


@pytest.mark.slow
def test_level_0_explains_each_failure_once(place: Place) -> None:
    process = place.serve("--log", f"file={place.log},level=0")
    with connect(place.data) as data:
        for _ in range(3):
            assert tpm(data, GET_RANDOM_16).hex() == FAILURE
        assert tpm(data, SET_LOCALITY_2).hex() == FAILURE
    (off, vendor) = lines(place, "answered-failure")
    assert "TPM_CC_GET_RANDOM" in off
    assert "it wants INIT on the control channel first" in off
    assert "--locality allow-set-locality" in vendor
    with Qemu(place.control) as qemu:
        assert control(qemu.control, CMD_INIT, bytes(4)) == bytes(4)
        assert control(qemu.control, CMD_STOP) == bytes(4)
        with connect(place.data) as data:
            assert tpm(data, READ_CLOCK).hex() == FAILURE
    assert "TPM_CC_READ_CLOCK" in lines(place, "answered-failure")[-1]
    assert terminate(process) == 0
    repeated = [line for line in lines(place, "answered-failure") if "times=2" in line]
    assert len(repeated) == 1
    assert all("[error" in line for line in place.log.read_text().splitlines())


@pytest.mark.slow
def test_the_buffer_size_is_what_the_tpm_says_of_itself(place: Place) -> None:
    place.serve("--flags", "not-need-init")
    where = f"--unix {place.control}"
    ioctl(where, "--stop")
    ioctl(where, "-b", "3000")
    ioctl(where, "-i")
    tcti = f"swtpm:path={place.data}"
    tool(tcti, "startup -c")
    fixed = tool(tcti, "getcap properties-fixed").split()
    for name in ("TPM2_PT_MAX_COMMAND_SIZE:", "TPM2_PT_MAX_RESPONSE_SIZE:"):
        assert fixed[fixed.index(name) + 2] == "0xBB8"


def test_what_documents_of_qemu_and_libvirt_type_is_no_usage_error(tmp_path: Path) -> None:
    """All but the directory, which is missing, is understood."""
    status, _, errors = command(
        *("socket", "--tpm2", "--tpmstate", f"dir={tmp_path}/gone,mode=0600", "--terminate"),
        *("--ctrl", f"type=unixio,path={tmp_path}/sock,mode=0600", "--log", "level=20"),
    )
    assert status == 1
    assert f"cannot open directory {tmp_path}/gone" in errors
