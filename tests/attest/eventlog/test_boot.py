"""What a log proves of a boot: only what digests cover, whatever the log says of itself."""

import hashlib
from dataclasses import replace

import pytest

from tests.attest import made
from tests.attest.made import SHA256, Event
from vtpmd.attest.errors import MalformedError
from vtpmd.attest.eventlog.boot import Boot, altered, boot_facts
from vtpmd.attest.eventlog.coverage import Coverage, Kind, coverage
from vtpmd.attest.eventlog.describe import describe
from vtpmd.attest.eventlog.log import parse_log
from vtpmd.attest.eventlog.secure_boot import SecureBoot
from vtpmd.attest.eventlog.variables import parse_signature_lists, parse_variable

ALL = dict.fromkeys(range(24), SHA256)


def facts(events: list[Event]) -> Boot:
    return boot_facts(parse_log(made.log(events)), ALL)


def covered(event: Event) -> Coverage:
    return coverage(parse_log(made.log([event])).events[1], SHA256)


def state(events: list[Event]) -> SecureBoot:
    return facts(events).secure_boot


def test_what_has_been_booted() -> None:
    boot = facts(made.boot())
    assert boot.firmware_version == "edk2 1"
    assert boot.command_lines == (made.COMMAND_LINE,)
    expected = (hashlib.sha256(image).digest() for image in (b"shim", made.KERNEL))
    assert boot.applications == tuple(expected)
    assert boot.secure_boot == SecureBoot(
        True,
        "the variable SecureBoot says so",
        (hashlib.sha256(made.DB_CERTIFICATE).hexdigest(),),
        (made.DBX_HASH.hex(),),
    )


@pytest.mark.parametrize("index", [0, 4, 7, 8])
def test_nothing_is_told_of_a_pcr_that_is_not_proven(index: int) -> None:
    log = parse_log(made.log(made.boot()))
    boot = boot_facts(log, {each: alg for each, alg in ALL.items() if each != index})
    told = {
        0: boot.firmware_version is not None,
        4: boot.applications is not None,
        7: boot.secure_boot.enabled is not None,
        8: boot.command_lines != (),
    }
    assert told == {each: each != index for each in told}


UTF16 = "console=ttyS0\0".encode("utf-16-le")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Event(0, made.SEPARATOR, bytes(4)), Coverage(Kind.ALL, bytes(4))),
        (Event(0, made.SEPARATOR, bytes(4), b"x"), Coverage(Kind.WRONG)),
        (Event(4, made.ACTION, b"Calling", b"x"), Coverage(Kind.WRONG)),
        (Event(7, made.DRIVER_CONFIG, b"data", b"x"), Coverage(Kind.WRONG)),
        (Event(7, made.AUTHORITY, b"data", b"x"), Coverage(Kind.WRONG)),
        (Event(7, made.AUTHORITY, b"data+", b"data"), Coverage(Kind.PART, b"data")),
        (Event(4, made.APPLICATION, b"path", b"x"), Coverage(Kind.NONE)),
        (Event(1, made.BOOT_VARIABLE, made.variable(made.GLOBAL, "B", b"v"), b"v"),
         Coverage(Kind.PART, b"v")),
        (Event(1, made.BOOT_VARIABLE, b"none", b"v"), Coverage(Kind.NONE)),
        (Event(8, made.IPL, b"grub_cmd: ls\0", b"ls"), Coverage(Kind.PART, b"ls")),
        (Event(8, made.IPL, b"grub_cmd: ls\0", b"ls\0"), Coverage(Kind.PART, b"ls\0")),
        (Event(8, made.IPL, b"text\0", b"text"), Coverage(Kind.PART, b"text")),
        (Event(8, made.IPL, b"x" * 33 + b": ls\0", b"ls"), Coverage(Kind.NONE)),
        (Event(9, made.EVENT_TAG, b"\1\0\0\0\2\0\0\0abc", b"ab"), Coverage(Kind.PART, b"ab")),
        (Event(9, made.EVENT_TAG, b"\1", b"ab"), Coverage(Kind.NONE)),
        (Event(12, made.IPL, UTF16), Coverage(Kind.ALL, UTF16)),
    ],
)  # fmt: skip
def test_what_a_digest_covers(event: Event, expected: Coverage) -> None:
    assert covered(event) == expected


def test_data_changed_after_the_measurement_are_seen() -> None:
    """Of the events whose digest is, by specification, that of their data."""
    kinds = {made.SEPARATOR, made.ACTION, made.DRIVER_CONFIG, made.AUTHORITY}
    events = made.boot()
    for number, event in enumerate(events):
        if event.type not in kinds:
            continue
        changed = replace(event, data=b"\xff" + event.data[1:], measured=event.data)
        log = parse_log(made.log([*events[:number], changed, *events[number + 1 :]]))
        assert [each.number for each in altered(log, ALL)] == [number + 1]
        others = {index: alg for index, alg in ALL.items() if index != event.pcr}
        assert altered(log, others) == []


def relabelled(event: Event, kind: int) -> Event:
    return replace(event, type=kind, measured=event.data)


PCR_7 = made.secure_boot()
SETTING, SEPARATED, AUTHORIZED = PCR_7[0], PCR_7[5], PCR_7[6]
OTHER = made.variable(made.GLOBAL, "SecureBoot", b"\0")
UNCLEAR = {
    "nothing": [],
    "no separator": [*PCR_7[:5], AUTHORIZED],
    "two separators": [*PCR_7, SEPARATED],
    "another separator": [*PCR_7[:5], Event(7, made.SEPARATOR, b"\xff" * 4), AUTHORIZED],
    "a hidden separator": [*PCR_7[:5], relabelled(SEPARATED, made.ACTION), AUTHORIZED],
    "no variable": [*PCR_7[1:]],
    "of another vendor": [
        Event(7, made.DRIVER_CONFIG, made.variable(made.SECURITY, "SecureBoot", b"\1")), *PCR_7[1:],
    ],
    "two values": [SETTING, Event(7, made.DRIVER_CONFIG, OTHER), *PCR_7[1:]],
    "too long": [
        Event(7, made.DRIVER_CONFIG, made.variable(made.GLOBAL, "SecureBoot", b"\1\1")), *PCR_7[1:],
    ],
    "behind the separator": [*PCR_7[1:6], SETTING, AUTHORIZED],
    "hidden as an action": [relabelled(SETTING, made.ACTION), *PCR_7[1:]],
    "hidden as an authority": [relabelled(SETTING, made.AUTHORITY), *PCR_7[1:]],
    "a separator hidden as a part": [
        *PCR_7[:5], Event(7, made.AUTHORITY, bytes(4) + b"x", bytes(4)), *PCR_7[5:]
    ],
    "not covered": [replace(SETTING, measured=b"x"), *PCR_7[1:]],
    "no variable at all": [Event(7, made.DRIVER_CONFIG, b"x"), *PCR_7],
    "no PK": [*PCR_7[:1], *PCR_7[2:]],
    "an empty db": [
        *PCR_7[:3], Event(7, made.DRIVER_CONFIG, made.variable(made.SECURITY, "db", b"")),
        *PCR_7[4:],
    ],
    "nothing authorized": PCR_7[:6],
    "an application": [*PCR_7, Event(7, made.APPLICATION, b"x")],
    "a strange action": [*PCR_7, Event(7, made.ACTION, b"x")],
    "a broken db": [
        *PCR_7[:3], Event(7, made.DRIVER_CONFIG, made.variable(made.SECURITY, "db", bytes(27))),
        *PCR_7[4:],
    ],
}  # fmt: skip


@pytest.mark.parametrize("events", UNCLEAR.values(), ids=UNCLEAR)
def test_secure_boot_that_nobody_can_tell(events: list[Event]) -> None:
    found = state(events)
    assert found.enabled is None
    assert found.reason


def test_secure_boot_that_is_off() -> None:
    off = state(made.secure_boot(b"\0"))
    assert (off.enabled, len(off.db_certs)) == (False, 1)
    assert state(made.secure_boot(b"")).enabled is False
    debug = state([*PCR_7, Event(7, made.ACTION, b"UEFI Debug Mode")])
    assert (debug.enabled, debug.reason) == (False, "the firmware was in debug mode")


@pytest.mark.parametrize(
    ("value", "measured", "enabled"),
    [(b"\1", None, False), (b"\0", None, True), (b"\0", -1, False), (b"\1\0", None, False)],
)
def test_shim_that_starts_anything(value: bytes, measured: int | None, enabled: bool) -> None:
    """If the value is the octet that shim's digest misses, nobody knows it."""
    data = made.variable(made.SHIM_LOCK, "MokSBState", value)
    told = Event(7, made.AUTHORITY, data, data[:measured] if measured else None)
    assert state([*PCR_7, told]).enabled is enabled
    other = Event(7, made.AUTHORITY, made.variable(made.GLOBAL, "MokSBState", b"\1"))
    assert state([*PCR_7, other]).enabled


def test_nothing_is_hidden_behind_an_octet_too_many_or_another_type() -> None:
    """What was measured counts, and not what the log calls it."""
    told = made.variable(made.SHIM_LOCK, "MokSBState", b"\1")
    for data, measured in ((told + b"x", told), (told[:-1], None)):
        assert state([*PCR_7, Event(7, made.AUTHORITY, data, measured)]).enabled is False
    for data, measured in ((b"UEFI Debug Mode", None), (b"UEFI Debug Mode!", b"UEFI Debug Mode")):
        assert state([*PCR_7, Event(7, made.AUTHORITY, data, measured)]).enabled is False
    unprotected = state([*PCR_7, Event(7, made.AUTHORITY, b"DMA Protection Disabled")])
    assert not unprotected.dma_protection


def test_dma_protection() -> None:
    assert state(PCR_7).dma_protection
    found = state([*PCR_7[:5], Event(7, made.ACTION, b"DMA Protection Disabled"), *PCR_7[5:]])
    assert (found.enabled, found.dma_protection) == (True, False)


def test_no_application_hides_behind_another_type() -> None:
    """What PCR 4 has and no digest covers was started, whatever it is called."""
    events = made.boot()
    expected = facts(events).applications
    for kind in (made.IPL, made.BLOB, made.EVENT_TAG, 0x5, 0xC, 0x12, 0x12345678):
        hidden = [
            replace(event, type=kind) if event.type == made.APPLICATION else event
            for event in events
        ]
        assert facts(hidden).applications == expected


def test_the_preimage_of_an_application_is_no_notice() -> None:
    """Whoever knows the octets that an Authenticode digest covers can log them."""
    expected = facts(made.boot()).applications
    for kind in (made.SEPARATOR, made.ACTION):
        for data in (b"MZ\x90\0" * 100, b"MZ" * 200):
            events = [*made.boot(), Event(4, kind, data)]
            assert len(facts(events).applications or ()) == len(expected or ()) + 1


def test_a_version_behind_the_separator_is_anybodys() -> None:
    version = Event(0, made.CRTM_VERSION, "v9\0".encode("utf-16-le"))
    hidden = Event(0, made.BLOB, bytes(4))
    for separator in (Event(0, made.SEPARATOR, bytes(4)), hidden):
        assert facts([separator, version]).firmware_version is None
        assert facts([version, separator]).firmware_version == "v9"


def test_a_command_line_beside_what_is_not_proven_is_nobodys() -> None:
    good = Event(8, made.IPL, b"kernel_cmdline: good\0", b"good")
    for data in (b"kernel_cmdline: x\0", b"?"):
        other = Event(8, made.IPL, data, b"bad")
        assert facts([other, good]).command_lines == ()


def test_command_lines() -> None:
    line = "root=/dev/vda"
    stub = Event(12, made.IPL, f"{line}\0".encode("utf-16-le"))
    assert facts([stub]).command_lines == (line,)
    assert facts([replace(stub, type=0xC)]).command_lines == (line,)
    assert facts([replace(stub, pcr=11)]).command_lines == ()
    assert facts([replace(stub, measured=b"another")]).command_lines == ()
    assert facts([Event(12, made.IPL, "√\0".encode("utf-16-le"))]).command_lines == ()
    grub = Event(8, made.IPL, b"kernel_cmdline: /vmlinuz x\xff\0", b"/vmlinuz x\xff")
    assert facts([grub, grub]).command_lines == ("/vmlinuz x\\xff",)
    assert facts([replace(grub, measured=b"/vmlinuz y")]).command_lines == ()


def test_a_version_that_is_no_text_is_told_in_hexadecimal() -> None:
    assert facts([Event(0, made.CRTM_VERSION, b"\1\xd8")]).firmware_version == "01d8"
    assert facts([Event(0, made.CRTM_VERSION, b"\0\0")]).firmware_version == ""
    assert facts([Event(0, made.CRTM_VERSION, b"x\0", b"y")]).firmware_version is None


@pytest.mark.parametrize(
    "data",
    [b"", bytes(31), made.variable(made.GLOBAL, "a", b"v") + b"x",
     made.variable(made.GLOBAL, "a", b"v")[:-1], made.variable(made.GLOBAL, "a" * 129, b""),
     bytes(16) + b"\xff" * 16, bytes(16) + b"\1" + bytes(15) + b"\0\xd8"],
)  # fmt: skip
def test_what_is_no_variable(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_variable(data)


def test_signature_lists() -> None:
    value = made.signature_list(made.X509, b"one") + made.signature_list(
        made.HASHES, bytes(32), b"\1" * 32
    )
    found = parse_signature_lists(value)
    assert (found.certificates, found.hashes) == ((b"one",), (bytes(32), b"\1" * 32))
    for end in range(1, len(value)):
        if end != 28 + 16 + 3:
            with pytest.raises(MalformedError):
                parse_signature_lists(value[:end])
    for at in (16, 20, 24):  # sizes
        for size in {b"\0" * 4, b"\xff" * 4, b"\1\0\0\0"} - {value[at : at + 4]}:
            with pytest.raises(MalformedError):
                parse_signature_lists(value[:at] + size + value[at + 4 :])


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (SETTING, "SecureBoot (1 octets)"),
        (Event(4, made.ACTION, b"Calling\0"), "Calling"),
        (Event(0, made.CRTM_VERSION, "v1\0".encode("utf-16-le")), "v1"),
        (Event(0, made.IPL, b"x" * 130), "x" * 120 + " …"),
        (Event(0, made.IPL, b"\x1b[2J"), "1b5b324a"),
        (Event(7, made.DRIVER_CONFIG, b"\xff" * 30), "ff" * 24 + " …"),
        (Event(0, made.SEPARATOR, bytes(4)), "00000000"),
        (Event(0, made.IPL, b""), ""),
        (Event(9, made.EVENT_TAG, b"\1\0\0\0\6\0\0\0initrd"), "initrd"),
        (Event(9, made.EVENT_TAG, b"\1\0"), "0100"),
    ],
)
def test_an_event_in_a_few_words(event: Event, text: str) -> None:
    assert describe(parse_log(made.log([event])).events[1]) == text
