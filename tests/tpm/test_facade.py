"""What the engine offers to others in place of TPM commands and its own inside."""

import importlib
import os
import struct
from pkgutil import walk_packages

import pytest

from tests.tpm import areas
from tests.tpm.harness import EnginePeer, HostClock, Password, Tester
from tests.tpm.raw import code_of, framed
from vtpmd import tpm
from vtpmd.tpm.engine import (
    Engine,
    EngineError,
    ProfileError,
    Reply,
    StartupType,
    StateError,
    bank_names,
    profile_names,
    refusal,
    rsa_key_sizes,
)
from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire.constants import ALG, CAP, CC, PT, RH, SU


def test_facts_are_those_that_the_guest_is_told(tester: Tester, engine_peer: EnginePeer) -> None:
    facts = engine_peer.engine.facts
    manufacturer, version, revision = (
        tester.run(CC.GET_CAPABILITY, params=struct.pack(">III", CAP.TPM_PROPERTIES, tag, 1))
        for tag in (PT.MANUFACTURER, PT.FIRMWARE_VERSION_1, PT.REVISION)
    )
    assert bytes.fromhex(facts.manufacturer) == manufacturer.parameters[-4:]
    assert bytes.fromhex(facts.version) == version.parameters[-4:]
    assert facts.revision.to_bytes(4) == revision.parameters[-4:]
    assert facts.profile == "default-v1"
    for alg, reported in ((ALG.RSA, facts.rsa_key_sizes), (ALG.CAMELLIA, facts.camellia_key_sizes)):
        sizes = []
        for bits in (128, 192, 256, 1024, 2048, 3072, 4096):
            rsa, cipher = (ALG.RSA, ALG.NULL, ALG.NULL, bits, 0, 0), (ALG.SYMCIPHER, alg, bits)
            words = areas.words(*(rsa if alg == ALG.RSA else (*cipher, ALG.CFB)))
            if tester.run(CC.TEST_PARMS, params=words).rc == 0:
                sizes.append(bits)
        assert list(reported) == sizes


def test_facts_of_a_restricted_profile() -> None:
    name = "default-v1 without CAMELLIA RSA-4096"
    facts = Engine.manufacture(name, ["sha256"], os.urandom, HostClock()).facts
    assert (facts.profile, facts.rsa_key_sizes) == (name, (2048, 3072))
    assert facts.camellia_key_sizes == ()


def test_names_to_choose_from() -> None:
    assert profile_names() == ("default-v1", "sha3-v1", "fips-v1", "pqc-v1")
    assert bank_names() == ("sha1", "sha256", "sha384", "sha512")
    assert rsa_key_sizes() == (2048, 3072, 4096)
    for name in profile_names():
        assert Engine.manufacture(name, ["sha256"], os.urandom, HostClock()).facts.profile == name
    for bank in bank_names():
        Engine.manufacture("default-v1", [bank], os.urandom, HostClock())


def test_a_refusal_is_a_response_without_sessions() -> None:
    assert refusal(0x101).hex() == "80010000000a00000101"


@pytest.mark.parametrize(("first", "second"), [("clear", "state"), ("state", "clear")])
def test_startup_and_shutdown_in_the_place_of_a_guest(
    first: StartupType, second: StartupType
) -> None:
    """The host's own words do what the same commands of a guest do."""
    engine, guest = (EnginePeer.manufactured(["sha256"]).engine for _ in "ab")
    types = {"clear": b"\0\0", "state": b"\0\1"}

    def both(ours: Reply, code: int, kind: StartupType) -> int:
        theirs = guest.execute(framed(code, types[kind]), 0)
        assert ours.response == theirs.response
        assert (ours.nv is None) is (theirs.nv is None)
        return code_of(ours.response)

    assert both(engine.startup("clear"), CC.STARTUP, "clear") == 0
    assert both(engine.startup("clear"), CC.STARTUP, "clear") == RC.INITIALIZE
    assert both(engine.shutdown(first), CC.SHUTDOWN, first) == 0
    assert not engine.shutdown_needed
    for powered in (engine, guest):
        powered.power_on()
    resumed = both(engine.startup("state"), CC.STARTUP, "state")
    assert resumed == (0 if first == "state" else RC.VALUE | 0x1C0)
    if resumed == 0:
        assert both(engine.shutdown(second), CC.SHUTDOWN, second) == 0


def test_startup_comes_from_a_locality() -> None:
    engine = EnginePeer.manufactured(["sha256"]).engine
    assert code_of(engine.startup("clear", 1).response) == RC.LOCALITY
    assert code_of(engine.startup("clear", 3).response) == 0


def test_what_the_engine_raises_is_one_tree() -> None:
    modules = [
        importlib.import_module(found.name) for found in walk_packages(tpm.__path__, "vtpmd.tpm.")
    ]
    raised = {
        found
        for module in modules
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Exception)
        if found.__module__.startswith("vtpmd.tpm.")
    }
    assert {TpmError, StateError, ProfileError} < raised
    for error in raised:
        assert issubclass(error, EngineError)
        assert error.__name__.endswith("Error")


def test_lockout_is_reset_as_the_command_does_it(tester: Tester, engine_peer: EnginePeer) -> None:
    """The same state as after TPM2_DictionaryAttackLockReset; a Shutdown stays in force."""
    handle = areas.loaded_primary(tester, areas.sealed(), auth=b"secret", data=b"data")
    engine = engine_peer.engine
    assert (engine.failed_tries, engine.in_lockout) == (0, False)
    assert engine.reset_lockout().nv is None
    for count in range(3):
        assert not engine.in_lockout
        tester.run(CC.UNSEAL, [handle], auths=[Password(b"guess")])
        assert engine.failed_tries == count + 1
    assert engine.in_lockout
    restored = EnginePeer.restored(engine.permanent())
    other = Tester(restored)
    other.run(CC.STARTUP, params=SU.CLEAR.to_bytes(2))
    assert other.run(CC.DICTIONARY_ATTACK_LOCK_RESET, [RH.LOCKOUT], auths=[Password()]).rc == 0
    reply = engine.reset_lockout()
    assert reply.nv == engine.permanent()
    assert (engine.failed_tries, engine.in_lockout) == (0, False)
    assert (restored.engine.failed_tries, restored.engine.in_lockout) == (0, False)
    engine.shutdown("clear")
    engine.power_on()
    engine.startup("clear")
    assert engine.failed_tries == 0


def test_lockout_is_reset_in_a_tpm_that_is_off_and_stays_orderly(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    handle = areas.loaded_primary(tester, areas.sealed(), auth=b"secret", data=b"data")
    tester.run(CC.UNSEAL, [handle], auths=[Password(b"guess")])
    engine_peer.engine.shutdown("clear")
    stored = Engine.restore(engine_peer.engine.permanent(), os.urandom, HostClock())
    reply = stored.reset_lockout()
    assert reply.nv is not None
    again = Engine.restore(reply.nv, os.urandom, HostClock())
    again.power_on()
    assert again.startup("clear").response[6:10] == bytes(4)
    assert again.failed_tries == 0  # a disorderly one would have counted as a try
