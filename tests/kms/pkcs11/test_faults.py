"""What goes wrong with modules, tokens and PINs; nothing of it hurts the daemon."""

import errno
import os
import resource
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import cbor2
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.kms.pkcs11.conftest import TIMEOUT, OpenProvider, children
from tests.kms.pkcs11.softhsm import PIN, Faulty, Token
from tests.kms.pkcs11.waiting import ended, until
from tests.kms.wrapping import DEK
from vtpmd.kms.breaker import FIRST_PAUSE
from vtpmd.kms.errors import KeyRefusedError, KeyUnavailableError
from vtpmd.kms.pkcs11.provider import Pkcs11Provider
from vtpmd.kms.provider import KeyContext
from vtpmd.storage.slot import Slot

CONTEXT = KeyContext(uuid4(), bytes(16))

# Part of the names of the standard: CKR_… and CKF_…
GENERAL_ERROR, DEVICE_ERROR, DEVICE_MEMORY, DEVICE_REMOVED = "5", "30", "31", "32"
PIN_EXPIRED, PIN_LOCKED, SESSION_HANDLE_INVALID = "a3", "a4", "b3"
TOKEN_NOT_PRESENT, TOKEN_WRITE_PROTECTED = "e0", "e2"
ALREADY_LOGGED_IN, NOT_LOGGED_IN, VENDOR_DEFINED = "100", "101", "80000001"
USER_PIN_COUNT_LOW, USER_PIN_FINAL_TRY, USER_PIN_LOCKED = "10000", "20000", "40000"
AES_GCM, AES_KEY_WRAP_PAD = "1087", "210a"


async def _unavailable(attempt: Any, reason: str, retry: bool) -> None:
    with pytest.raises(KeyUnavailableError, match=reason) as caught:
        await attempt
    assert caught.value.retry is retry
    assert PIN not in caught.value.reason


def _write(file: Path, content: str | bytes | None, mode: int = 0o600) -> None:
    """Replace a file, or remove it."""
    file.unlink(missing_ok=True)
    if content is not None:
        file.touch()
        file.chmod(mode)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


async def _pid(provider: Pkcs11Provider) -> int:
    return int((await provider.describe())["pid"])


async def test_a_module_that_cannot_be_loaded(open_own: OpenProvider, tmp_path: Path) -> None:
    missing = open_own(module=str(tmp_path / "missing.so"))
    await _unavailable(missing.check(), "missing.so, token vtpmd test: it cannot be loaded", False)
    (tmp_path / "text.so").write_text("no library")
    await _unavailable(
        open_own(module=str(tmp_path / "text.so")).check(), "cannot be loaded", False
    )
    await _unavailable(open_own(module="/lib/x86_64-linux-gnu/libc.so.6").check(), "loaded", False)


async def test_a_token_that_is_not_there(open_own: OpenProvider, token: Token) -> None:
    provider = open_own(token="backup")
    await _unavailable(provider.check(), "no token backup; present: vtpmd test", True)
    Token.initialised(token.directory, "backup")
    await provider.check()


async def test_tokens_with_one_label_are_told_apart_by_serial_number(
    open_own: OpenProvider, token: Token
) -> None:
    serial = (await open_own().describe())["serial"]
    Token.initialised(token.directory)
    await _unavailable(open_own().check(), f"several tokens vtpmd test.*{serial}", False)
    assert (await open_own(serial=serial).describe())["serial"] == serial
    await _unavailable(open_own(serial="none").check(), "with serial number none", True)


async def test_a_wrong_pin_is_tried_once(
    open_faulty: OpenProvider, faulty: Faulty, pin_file: Path, token: Token
) -> None:
    provider = open_faulty()
    _write(pin_file, "wrong\n")
    await _unavailable(provider.check(), r"does not accept the PIN \(PinIncorrect\)", False)
    for _ in range(5):
        await _unavailable(provider.check(), f"refused the PIN in {pin_file}", False)
    assert faulty.calls("C_Login") == 1
    _write(pin_file, "also wrong\n")
    await _unavailable(provider.check(), "does not accept the PIN", False)
    assert faulty.calls("C_Login") == 2
    _write(pin_file, f"{PIN}\n")
    await provider.check()
    # A login that works stays, whatever the PIN becomes.
    token.set_pin("another")
    await provider.check()
    await provider.aclose()
    await _unavailable(provider.check(), "does not accept the PIN", False)
    _write(pin_file, "another\r\n")
    await provider.check()
    assert faulty.calls("C_Login") == 5


@pytest.mark.parametrize(
    ("order", "reason", "logins"),
    [
        (f"C_GetTokenInfo flags {USER_PIN_LOCKED}", "the PIN is locked", 0),
        (f"C_GetTokenInfo flags {USER_PIN_FINAL_TRY}", "one more wrong PIN would lock", 0),
        (f"C_Login return {PIN_LOCKED}", "the PIN is locked", 1),
        (f"C_Login return {PIN_EXPIRED}", "the PIN has to be set anew", 1),
    ],
)
async def test_a_pin_that_is_locked_or_nearly(
    open_faulty: OpenProvider, faulty: Faulty, order: str, reason: str, logins: int
) -> None:
    provider = open_faulty()
    faulty.order(order)
    await _unavailable(provider.check(), reason, False)
    assert faulty.calls("C_Login") == logins
    faulty.order(f"C_GetTokenInfo flags {USER_PIN_COUNT_LOW}")
    await provider.check()


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"", 0o600, "one line with a PIN"),
        (b"\n", 0o600, "one line with a PIN"),
        (b"12\n34\n", 0o600, "one line with a PIN"),
        (b"\xff\xfe", 0o600, "one line with a PIN"),
        (b"1" * 256, 0o600, "one line with a PIN"),
        (b"1" * 300, 0o600, "more than 257 bytes"),
        (b"1234", 0o640, "mode 0640"),
    ],
)
async def test_a_file_that_is_no_pin_file(
    open_faulty: OpenProvider,
    faulty: Faulty,
    pin_file: Path,
    content: bytes,
    mode: int,
    reason: str,
) -> None:
    _write(pin_file, content, mode)
    await _unavailable(open_faulty().check(), reason, False)
    assert faulty.calls("C_Initialize") == 0


async def test_a_pin_file_that_comes_later(open_own: OpenProvider, pin_file: Path) -> None:
    provider = open_own()
    _write(pin_file, None)
    await _unavailable(provider.check(), "No such file", True)
    _write(pin_file, PIN)
    await provider.check()


async def test_a_login_that_is_shared_with_others(
    open_faulty: OpenProvider, faulty: Faulty
) -> None:
    provider = open_faulty()
    faulty.order(f"C_Login after {ALREADY_LOGGED_IN}")
    assert await provider.unwrap(await provider.wrap(DEK, CONTEXT), CONTEXT) == DEK


async def test_a_process_that_was_killed_is_replaced(open_own: OpenProvider) -> None:
    provider = open_own()
    slot = await provider.wrap(DEK, CONTEXT)
    pid = await _pid(provider)
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    ended(pidfd)
    assert await provider.unwrap(slot, CONTEXT) == DEK
    assert await _pid(provider) != pid


async def test_a_process_that_cannot_be_watched_is_not_kept(
    open_own: OpenProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, before = open_own(), children()

    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as full:
        full.setattr(os, "pidfd_open", refuse)
        await _unavailable(provider.check(), "no process can be started: Too many open", True)
    assert children() == before
    await provider.check()


async def test_nothing_is_imported_from_where_the_daemon_was_started(
    open_own: OpenProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("pkcs11", "vtpmd", "cbor2", "socket"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    await open_own().check()


@pytest.mark.parametrize("function", ["C_Login", "C_DecryptInit"])
async def test_a_module_that_crashes_is_left_alone_for_longer_and_longer(
    open_faulty: OpenProvider, faulty: Faulty, mock_clock: MockClock, function: str
) -> None:
    provider = open_faulty()
    slot = await provider.wrap(DEK, CONTEXT)
    await provider.aclose()
    started = faulty.calls("C_Initialize")
    faulty.order(f"{function} crash")
    for _ in range(3):
        await _unavailable(provider.unwrap(slot, CONTEXT), "was killed by SIGSEGV", True)
    for _ in range(3):
        await _unavailable(provider.unwrap(slot, CONTEXT), "failed 3 times in a row", True)
    assert faulty.calls("C_Initialize") == started + 3
    mock_clock.jump(FIRST_PAUSE)
    await _unavailable(provider.unwrap(slot, CONTEXT), "was killed by SIGSEGV", True)
    mock_clock.jump(FIRST_PAUSE)
    await _unavailable(provider.unwrap(slot, CONTEXT), "failed 4 times in a row", True)
    mock_clock.jump(FIRST_PAUSE)
    faulty.order()
    assert await provider.unwrap(slot, CONTEXT) == DEK
    assert faulty.calls("C_Initialize") == started + 5


@pytest.mark.parametrize("function", ["C_Initialize", "C_Login", "C_DecryptInit"])
async def test_a_module_that_hangs_is_killed(
    open_faulty: OpenProvider, faulty: Faulty, mock_clock: MockClock, function: str
) -> None:
    provider = open_faulty()
    slot = await provider.wrap(DEK, CONTEXT)
    pidfd = os.pidfd_open(await _pid(provider))
    if function != "C_DecryptInit":
        await provider.aclose()
    faulty.order(f"{function} hang")
    before = faulty.calls(function)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_unavailable, provider.unwrap(slot, CONTEXT), "within 60 s", True)
        await until(lambda: faulty.calls(function) > before)
        mock_clock.jump(TIMEOUT)
    ended(pidfd)
    faulty.order()
    assert await provider.unwrap(slot, CONTEXT) == DEK


async def test_a_process_that_is_stopped_is_killed(
    open_own: OpenProvider, mock_clock: MockClock
) -> None:
    provider = open_own()
    slot = await provider.wrap(DEK, CONTEXT)
    pid = await _pid(provider)
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_unavailable, provider.unwrap(slot, CONTEXT), "did not answer", True)
        await wait_all_tasks_blocked()
        mock_clock.jump(TIMEOUT)
    ended(pidfd)
    assert await provider.unwrap(slot, CONTEXT) == DEK


async def test_a_request_that_is_given_up_disturbs_no_other(
    open_faulty: OpenProvider, faulty: Faulty
) -> None:
    provider = open_faulty()
    slot = await provider.wrap(DEK, CONTEXT)
    before = faulty.calls("C_DecryptInit")
    faulty.order("C_DecryptInit hang")
    opened: list[bytearray] = []

    async def unlock() -> None:
        opened.append(await provider.unwrap(slot, CONTEXT))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as given_up:
                given_up.start_soon(unlock)
                await until(lambda: faulty.calls("C_DecryptInit") > before)
                nursery.start_soon(unlock)
                await wait_all_tasks_blocked()
                faulty.order()
                scope.cancel()
    assert opened == [DEK]


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"\xff" * 64, "a message of 4294967295 octets, 65536 are permitted"),
        (b"\0\0\0\1\0", "not a map"),
        (b"\0\0\0\3\xa0\xa0\xa0", "not canonical CBOR"),
        (b"\0\0\0\1\xff", "not canonical CBOR"),
        (b"\0\0\0\x0e" + cbor2.dumps({"type": "unknown"}), "unknown message type"),
        (b"\0\0\0\x0e" + cbor2.dumps({"type": "Checked"}), "Checked in place of Unwrapped"),
    ],
)
async def test_garbage_is_no_answer(
    open_faulty: OpenProvider, faulty: Faulty, octets: bytes, reason: str
) -> None:
    provider = open_faulty()
    slot = await provider.wrap(DEK, CONTEXT)
    pidfd = os.pidfd_open(await _pid(provider))
    faulty.order(f"C_DecryptInit write {octets.hex()}")
    await _unavailable(provider.unwrap(slot, CONTEXT), f"gave no valid answer: {reason}", True)
    ended(pidfd)
    faulty.order()
    assert await provider.unwrap(slot, CONTEXT) == DEK


@pytest.mark.parametrize("code", [SESSION_HANDLE_INVALID, NOT_LOGGED_IN, DEVICE_REMOVED])
@pytest.mark.parametrize("function", ["C_FindObjectsInit", "C_DecryptInit"])
async def test_a_session_that_is_lost_is_opened_again(
    open_faulty: OpenProvider, faulty: Faulty, function: str, code: str
) -> None:
    provider = open_faulty()
    slot = await provider.wrap(DEK, CONTEXT)
    pid = await _pid(provider)
    faulty.order(f"{function} once {code}")
    assert await provider.unwrap(slot, CONTEXT) == DEK
    assert await _pid(provider) != pid


async def test_a_token_that_fails_once_does_not_make_a_slot_damaged(
    open_faulty: OpenProvider, faulty: Faulty
) -> None:
    provider = open_faulty()
    slot = await provider.wrap(DEK, CONTEXT)
    pid = await _pid(provider)
    faulty.order(f"C_DecryptInit once {DEVICE_ERROR}")
    assert await provider.unwrap(slot, CONTEXT) == DEK
    assert await _pid(provider) == pid


@pytest.mark.parametrize(
    ("function", "code", "reason"),
    [
        ("C_DecryptInit", SESSION_HANDLE_INVALID, r"the session is over \(SessionHandleInvalid\)"),
        ("C_FindObjectsInit", DEVICE_REMOVED, "the token is gone"),
        ("C_GetTokenInfo", TOKEN_NOT_PRESENT, "no token vtpmd test; present: none"),
        ("C_FindObjectsInit", DEVICE_ERROR, r"the token failed \(DeviceError\)"),
        ("C_FindObjectsInit", VENDOR_DEFINED, "the token failed"),
        ("C_DecryptInit", GENERAL_ERROR, r"the token failed \(GeneralError\)"),
        ("C_Initialize", GENERAL_ERROR, "cannot be loaded"),
    ],
)
async def test_a_token_that_fails(
    open_faulty: OpenProvider, faulty: Faulty, function: str, code: str, reason: str
) -> None:
    provider = open_faulty()
    slot = await provider.wrap(DEK, CONTEXT)
    await provider.aclose()
    faulty.order(f"{function} return {code}")
    await _unavailable(provider.unwrap(slot, CONTEXT), reason, function != "C_Initialize")
    faulty.order()
    assert await provider.unwrap(slot, CONTEXT) == DEK


async def test_a_token_that_is_full(open_faulty: OpenProvider, faulty: Faulty) -> None:
    provider = open_faulty()
    slot = await provider.wrap(DEK, CONTEXT)
    pid = await _pid(provider)
    faulty.order(f"C_GenerateKey return {DEVICE_MEMORY}")
    other = KeyContext(uuid4(), bytes(16))
    await _unavailable(provider.wrap(DEK, other), "the token is full", False)
    await _unavailable(provider.rewrap(slot, CONTEXT), "the token is full", False)
    # The module is well: it goes on.
    assert await provider.unwrap(slot, CONTEXT) == DEK
    assert await _pid(provider) == pid
    faulty.order(f"C_GenerateKey return {TOKEN_WRITE_PROTECTED}")
    await _unavailable(provider.wrap(DEK, other), "may not be written to", False)


async def test_a_token_whose_files_cannot_grow(open_own: OpenProvider, token: Token) -> None:
    provider = open_own()
    slot = await provider.wrap(DEK, CONTEXT)
    resource.prlimit(await _pid(provider), resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    other = KeyContext(uuid4(), bytes(16))
    with pytest.raises(KeyUnavailableError):
        await provider.wrap(DEK, other)
    assert await provider.unwrap(slot, CONTEXT) == DEK
    await provider.aclose()
    assert await provider.unwrap(await provider.wrap(DEK, other), other) == DEK
    assert len(token.keys(f"vtpmd-{CONTEXT.uuid}")) == 1


async def test_the_second_best_mechanism_is_used_where_the_best_is_unknown(
    open_faulty: OpenProvider, faulty: Faulty
) -> None:
    provider = open_faulty()
    faulty.order(f"C_GetMechanismInfo hide {AES_GCM}")
    slot = await provider.wrap(DEK, CONTEXT)
    assert slot.algorithm == "A256KWP-SHA256"
    assert await provider.unwrap(slot, CONTEXT) == DEK
    wanted = open_faulty(mechanism="gcm")
    await _unavailable(wanted.check(), "does not offer AES_GCM$", False)
    await provider.aclose()
    faulty.order(f"C_GetMechanismInfo hide {AES_KEY_WRAP_PAD}")
    other = open_faulty(mechanism="key-wrap")
    await _unavailable(other.check(), "does not offer AES_KEY_WRAP_PAD$", False)


@pytest.mark.parametrize("function", ["C_Encrypt", "C_Decrypt"])
async def test_what_does_not_open_to_the_same_dek_is_never_given_out(
    open_faulty: OpenProvider, faulty: Faulty, function: str
) -> None:
    provider = open_faulty(mechanism="gcm", key_scope="shared", key_name="shared")
    await provider.initialise()
    faulty.order(f"{function} corrupt")
    for attempt in (provider.wrap(DEK, CONTEXT), provider.check()):
        with pytest.raises(KeyUnavailableError):
            await attempt


async def test_a_damaged_slot_is_refused_even_by_a_retired_key(
    open_faulty: OpenProvider, token: Token
) -> None:
    provider = open_faulty(mechanism="key-wrap")
    slot = await provider.wrap(DEK, CONTEXT)
    token.set(slot.key_ref, WRAP=False)
    short = Slot(**{**vars(slot), "wrapped": slot.wrapped[:-8]})
    with pytest.raises(KeyRefusedError, match="damaged"):
        await provider.unwrap(short, CONTEXT)
