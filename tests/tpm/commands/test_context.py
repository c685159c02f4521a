"""Part 3, chapter 28: saved contexts, their one use, their end, and who can't make or load them."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.tpm import areas, objects_made, states
from tests.tpm.agreement import agreed, handle_error, parameter_error
from tests.tpm.harness import EnginePeer, Password, Result, Tester, sized
from vtpmd.tpm import snapshot
from vtpmd.tpm.engine import Engine
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE, SU

Both = tuple[Tester, Tester]

MAX_RESPONSE = 4096
KERNEL_BUFFER = 4096
"""What older Linux kernels have for the contexts of a space's three objects."""


@dataclass(frozen=True)
class Context:
    """TPMS_CONTEXT."""

    sequence: int
    saved_handle: int
    hierarchy: int
    blob: bytes

    @classmethod
    def parse(cls, octets: bytes) -> "Context":
        sequence, handle, hierarchy, size = struct.unpack_from(">QIIH", octets)
        assert len(octets) == 18 + size
        return cls(sequence, handle, hierarchy, octets[18:])

    def marshal(self) -> bytes:
        head = struct.pack(">QII", self.sequence, self.saved_handle, self.hierarchy)
        return head + sized(self.blob)


def save(tester: Tester, handle: int) -> Context:
    saved = tester.run(CC.CONTEXT_SAVE, [handle])
    assert saved.rc == 0, hex(saved.rc)
    return Context.parse(saved.parameters)


def load(tester: Tester, context: Context) -> Result:
    return tester.run(CC.CONTEXT_LOAD, params=context.marshal())


def flush(tester: Tester, handle: int) -> int:
    tester.names.clear()
    return tester.run(CC.FLUSH_CONTEXT, params=handle.to_bytes(4)).rc


def hash_sequence(tester: Tester, alg: int) -> int:
    handle = tester.run(CC.HASH_SEQUENCE_START, params=b"\0\0" + alg.to_bytes(2)).handle
    assert handle is not None
    tester.names[handle] = b""
    return handle


def test_the_fields_of_contexts(both: Both) -> None:
    """sequence, savedHandle and hierarchy count and tell what they do in swtpm."""
    st_clear = areas.OWN | areas.ST_CLEAR
    found = []
    for tester in both:
        handles = [
            areas.loaded_primary(tester, areas.storage()),
            areas.loaded_primary(tester, areas.storage(st_clear)),
            hash_sequence(tester, ALG.SHA256),
        ]
        sessions = [tester.start_session(kind).handle for kind in (SE.HMAC, SE.POLICY, SE.TRIAL)]
        contexts = [save(tester, handle) for handle in (*handles, *handles[:1], *sessions)]
        found.append([(c.saved_handle, c.hierarchy) for c in contexts])
        assert [c.sequence for c in contexts[:4]] == [1, 2, 3, 4]
        counted = [c.sequence for c in contexts[4:]]
        assert counted == [counted[0], counted[0] + 1, counted[0] + 2]
    assert found[0] == found[1]


def test_no_two_contexts_have_a_key_stream_in_common(both: Both) -> None:
    """The same contents saved again are encrypted otherwise, from the first octet on."""
    for tester in both:
        handle = areas.loaded_primary(tester, areas.storage())
        objects = [save(tester, handle) for _ in range(4)]
        contexts = []
        for _ in range(4):
            contexts.append(save(tester, tester.start_session(SE.POLICY).handle))
            assert flush(tester, contexts[-1].saved_handle) == 0
        for saved in (objects, contexts):
            # The integrity value comes first; the sequence number may begin what is encrypted.
            encrypted = [c.blob[2 + int.from_bytes(c.blob[:2]) :] for c in saved]
            assert len({octets[:7] for octets in encrypted}) == len(saved)
            assert len({octets[8:16] for octets in encrypted}) == len(saved)


def test_an_object_can_be_loaded_again_and_again(both: Both) -> None:
    for tester in both:
        handle = areas.loaded_primary(tester, areas.sealed(), auth=b"auth", data=b"data")
        name = tester.run(CC.READ_PUBLIC, [handle]).parameters
        context = save(tester, handle)
        copy = load(tester, context)
        assert (copy.rc, copy.handle) == (0, handle + 1)
        assert tester.run(CC.READ_PUBLIC, [handle + 1]).parameters == name
        assert flush(tester, handle) == 0
        assert load(tester, context).handle == handle
        assert tester.run(CC.UNSEAL, [handle], auths=[Password(b"auth")]).sized() == b"data"
        assert load(tester, context).handle == handle + 2
        assert load(tester, context).rc == RC.OBJECT_MEMORY


def test_a_sequence_goes_on_from_where_it_was_saved(both: Both) -> None:
    for alg in (ALG.SHA1, ALG.SHA256, ALG.SHA512):
        answers = set()
        for tester in both:
            handle = hash_sequence(tester, alg)
            first, second = sized(b"a" * 100), sized(b"b" * 333)
            assert tester.run(CC.SEQUENCE_UPDATE, [handle], first, [Password()]).rc == 0
            context = save(tester, handle)
            assert flush(tester, handle) == 0
            assert load(tester, context).rc == 0
            tester.names[handle] = b""
            params = second + RH.NULL.to_bytes(4)
            done = tester.run(CC.SEQUENCE_COMPLETE, [handle], params, [Password()])
            answers.add(done.sized())
        assert len(answers) == 1


def test_a_session_is_in_one_place(both: Both) -> None:
    """Saved it is not loaded; its context is loaded once; the one before is stale."""
    refused = parameter_error(RC.HANDLE, 1)
    for tester in both:
        session = tester.start_session(SE.POLICY)
        assert tester.run(CC.POLICY_AUTH_VALUE, [session.handle]).rc == 0
        digest = tester.run(CC.POLICY_GET_DIGEST, [session.handle]).sized()
        first = save(tester, session.handle)
        assert tester.run(CC.POLICY_GET_DIGEST, [session.handle]).rc == RC.REFERENCE_H0
        assert tester.run(CC.CONTEXT_SAVE, [session.handle]).rc == RC.REFERENCE_H0
        assert load(tester, first).handle == session.handle
        assert load(tester, first).rc == refused
        second = save(tester, session.handle)
        assert load(tester, first).rc == refused
        assert load(tester, second).rc == 0
        assert tester.run(CC.POLICY_GET_DIGEST, [session.handle]).sized() == digest
        third = save(tester, session.handle)
        assert flush(tester, session.handle) == 0
        assert load(tester, third).rc == refused
        assert tester.start_session(SE.POLICY).handle == session.handle
        assert load(tester, third).rc == refused


def test_the_numbers_of_sessions_are_shared(both: Both) -> None:
    """A saved session is listed, and can be ended, under the handle of an HMAC session."""
    for tester in both:
        session = tester.start_session(SE.POLICY)
        save(tester, session.handle)
        listed = tester.run(CC.GET_CAPABILITY, params=struct.pack(">III", 1, 0x03000000, 9))
        handle = int.from_bytes(listed.parameters[9:])
        assert handle == session.handle & 0xFFFFFF | 0x02000000
        assert flush(tester, handle) == 0
        assert flush(tester, handle) == parameter_error(RC.HANDLE, 1)


def test_slots(both: Both) -> None:
    for tester in both:
        contexts = []
        for _ in range(64):
            contexts.append(save(tester, tester.start_session().handle))
        params = sized(bytes(16)) + bytes(3) + areas.NONE + b"\x00\x0b"
        full = tester.run(CC.START_AUTH_SESSION, [RH.NULL, RH.NULL], params)
        assert full.rc == RC.SESSION_HANDLES
        for context in contexts[:3]:
            assert load(tester, context).rc == 0
        assert load(tester, contexts[3]).rc == RC.SESSION_MEMORY
        full = tester.run(CC.START_AUTH_SESSION, [RH.NULL, RH.NULL], params)
        assert full.rc == RC.SESSION_MEMORY


def test_tampering(both: Both) -> None:
    refused = parameter_error(RC.INTEGRITY, 1)
    for tester in both:
        session, key = tester.start_session(), areas.loaded_primary(tester, areas.storage())
        for context in (save(tester, session.handle), save(tester, key)):
            blob = context.blob
            wrong = [
                replace(context, sequence=context.sequence + 1),
                replace(context, saved_handle=context.saved_handle ^ 1),
                replace(context, blob=blob + b"\0"),
                *[
                    replace(context, blob=blob[:n] + bytes((blob[n] ^ 1,)) + blob[n + 1 :])
                    for n in range(2, len(blob), 37)
                ],
            ]
            codes = {load(tester, other).rc for other in wrong}
            assert refused in codes
            assert 0 not in codes
            if tester is both[0]:
                other = RH.ENDORSEMENT if context.hierarchy != RH.ENDORSEMENT else RH.OWNER
                assert load(tester, replace(context, hierarchy=other)).rc == refused
            assert load(tester, context).rc == 0


@pytest.mark.parametrize("size", [0, 1, 2, 10, 65, 66, 67, 73, 74, 3000])
def test_blobs_that_are_none(both: Both, size: int) -> None:
    for hierarchy, handle in ((RH.OWNER, 0x80000000), (RH.NULL, 0x02000000), (0x40000008, 0)):
        for start in (b"\x00\x40", b"\x00\x20", b"\xff\xff"):
            context = Context(1, handle, hierarchy, (start + bytes(size))[:size])
            agreed(both, load, context)


def test_other_tpms_contexts(tester: Tester, swtpm: Tester) -> None:
    other = Tester(EnginePeer.restored(tester.peer.stored))  # type: ignore[attr-defined]
    other.startup()
    refused = parameter_error(RC.INTEGRITY, 1)
    for stranger in (other, swtpm):
        key = areas.loaded_primary(stranger, areas.storage())
        session = stranger.start_session()
        for context in (save(stranger, key), save(stranger, session.handle)):
            assert load(tester, context).rc == refused


@pytest.mark.parametrize("hierarchy", [RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM, RH.NULL])
def test_what_ends_the_contexts_of_objects(both: Both, hierarchy: int) -> None:
    """TPM Reset all; Clear and new seeds those of a hierarchy; disabling, as long as it is."""
    found = []
    for tester in both:

        def saved(tester: Tester = tester) -> Context:
            made = areas.create_primary(tester, areas.storage(), hierarchy=hierarchy)
            assert made.handle is not None
            context = save(tester, made.handle)
            assert flush(tester, made.handle) == 0
            return context

        def outcome(context: Context, tester: Tester = tester) -> int:
            loaded = load(tester, context)
            if loaded.handle is not None:
                flush(tester, loaded.handle)
            return loaded.rc

        codes = []
        for code, handle in (
            (CC.CHANGE_PPS, RH.PLATFORM),
            (CC.CHANGE_EPS, RH.PLATFORM),
            (CC.CLEAR, RH.LOCKOUT),
        ):
            context = saved()
            assert tester.run(code, [handle], auths=[Password()]).rc == 0
            codes.append(outcome(context))
        context = saved()
        if hierarchy in (RH.OWNER, RH.ENDORSEMENT):
            for state, expected in ((b"\0", parameter_error(RC.HIERARCHY, 1)), (b"\1", 0)):
                params = hierarchy.to_bytes(4) + state
                control = tester.run(CC.HIERARCHY_CONTROL, [RH.PLATFORM], params, [Password()])
                assert control.rc == 0
                assert outcome(context) == expected
        for shutdown, startup in ((SU.STATE, SU.STATE), (SU.STATE, SU.CLEAR), (SU.CLEAR, SU.CLEAR)):
            assert tester.run(CC.SHUTDOWN, params=shutdown.to_bytes(2)).rc == 0
            tester.peer.reset()
            assert tester.startup(startup) == 0
            codes.append(outcome(context))
        found.append(codes)
    assert found[0] == found[1]
    assert found[0][-1] == parameter_error(RC.INTEGRITY, 1)


def test_keys_of_contexts_are_forgotten_at_a_reset(tester: Tester, engine_peer: EnginePeer) -> None:
    save(tester, areas.loaded_primary(tester, areas.storage()))
    engine = engine_peer.engine
    assert engine._tpm.context_ciphers
    engine.power_off()
    engine.power_on()
    assert tester.startup() == 0
    assert not engine._tpm.context_ciphers


def test_st_clear_objects_end_at_a_restart(both: Both) -> None:
    for tester in both:
        key = areas.loaded_primary(tester, areas.storage(areas.OWN | areas.ST_CLEAR))
        context = save(tester, key)
        codes = []
        for startup in (SU.STATE, SU.CLEAR):
            assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
            tester.peer.reset()
            assert tester.startup(startup) == 0
            codes.append(load(tester, context).rc)
        assert codes == [0, parameter_error(RC.INTEGRITY, 1)]


def test_st_clear_objects_of_the_platform_end_at_a_restart_whoever_owns(tester: Tester) -> None:
    """TPM2_Clear does not turn clearCount back, as it does in libtpms."""
    template = areas.storage(areas.OWN | areas.ST_CLEAR)
    key = areas.create_primary(tester, template, hierarchy=RH.PLATFORM).handle
    assert key is not None
    context = save(tester, key)
    assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
    tester.reset()
    assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == 0
    assert load(tester, context).rc == parameter_error(RC.INTEGRITY, 1)


def test_what_is_saved_again_from_a_snapshot_has_another_key_stream(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    """Sequence numbers recur there, and a guest sees both contexts."""
    key = areas.loaded_primary(tester, areas.storage())
    handle = tester.start_session(SE.POLICY).handle
    states_before = engine_peer.engine.permanent(), engine_peer.engine.volatile()
    blobs = []
    for _ in range(2):
        engine_peer.engine.power_off()
        engine_peer.engine = Engine.restore(states_before[0], os.urandom, engine_peer.clock)
        engine_peer.engine.power_on(states_before[1])
        engine_peer.keep()
        blobs.append([save(tester, saved) for saved in (key, handle)])
    for one, other in zip(*blobs, strict=True):
        assert (one.sequence, one.saved_handle) == (other.sequence, other.saved_handle)
        ciphertexts = one.blob[66:], other.blob[66:]
        assert len(ciphertexts[0]) == len(ciphertexts[1])
        same = sum(a == b for a, b in zip(*ciphertexts, strict=True))
        assert same < len(ciphertexts[0]) // 16
        assert load(tester, other).rc == 0


def test_a_reset_ends_contexts_in_the_same_process(tester: Tester, engine_peer: EnginePeer) -> None:
    """What a worker's TPM keeps over _TPM_Init does not keep them."""
    context = save(tester, areas.loaded_primary(tester, areas.storage()))
    engine_peer.engine.power_off()
    engine_peer.engine.power_on()
    engine_peer.keep()
    assert tester.startup() == 0
    assert load(tester, context).rc == parameter_error(RC.INTEGRITY, 1)


def test_contexts_of_other_versions(tester: Tester, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older one's fields have their defaults; a newer one's can't be understood."""
    encode = snapshot.encode

    def saved_as(change: Callable[[states.Document], object], handle: int) -> Context:
        with monkeypatch.context() as patched:
            patched.setattr(snapshot, "encode", lambda *of: states.changed(encode(*of), change))
            return save(tester, handle)

    key = areas.loaded_primary(tester, areas.storage())
    session = tester.start_session(SE.POLICY).handle
    older = saved_as(lambda document: document.pop("external"), key)
    assert load(tester, older).handle == key + 1
    refused = parameter_error(RC.INTEGRITY, 1)
    assert load(tester, saved_as(lambda document: document.update(more=1), key)).rc == refused
    assert load(tester, saved_as(lambda document: document.update(version=2), key)).rc == refused
    assert load(tester, saved_as(lambda document: document.pop("name"), key)).rc == refused
    assert load(tester, saved_as(lambda document: document.pop("is_audit"), session)).rc == 0


def test_the_largest_contexts(tester: Tester) -> None:
    """They fit into a response, into what TPM_PT tells, and three into an old kernel's buffer."""
    largest = areas.rsa(
        areas.OWN | areas.STORAGE | areas.NO_DA,
        alg=ALG.SHA512,
        policy=bytes(range(64)),
        symmetric=areas.words(ALG.AES, 256, ALG.CFB),
        bits=4096,
    )
    contexts = [save(tester, areas.loaded_primary(tester, largest, auth=bytes(range(1, 65))))]
    sequence = tester.run(CC.HASH_SEQUENCE_START, params=sized(b"x" * 64) + areas.NONE).handle
    assert sequence is not None
    tester.names[sequence] = b""
    auth = [Password(b"x" * 64)]
    assert tester.run(CC.SEQUENCE_UPDATE, [sequence], sized(bytes(range(200))), auth).rc == 0
    contexts.append(save(tester, sequence))
    session = tester.start_session(SE.POLICY, alg=ALG.SHA512, bind=RH.OWNER, aes_bits=256)
    contexts.append(save(tester, session.handle))
    told = tester.run(CC.GET_CAPABILITY, params=struct.pack(">III", 6, 0x121, 2)).parameters
    limits = [int.from_bytes(told[n : n + 4]) for n in (13, 21)]
    for context in contexts:
        assert len(context.marshal()) + 10 <= MAX_RESPONSE
        assert len(context.blob) <= min(limits)
    common = save(tester, areas.loaded_primary(tester, areas.storage()))
    assert 3 * len(common.marshal()) <= KERNEL_BUFFER


def test_flushing_what_is_not_there(both: Both) -> None:
    for handle in (0x80000000, 0x80000002, 0x80000003, 0x02000000, 0x0300003F, 0x02000040, 0, 1):
        agreed(both, Tester.run, CC.FLUSH_CONTEXT, [], handle.to_bytes(4))
    assert agreed(both, Tester.run, CC.CONTEXT_SAVE, [0x81000001]).rc == handle_error(RC.VALUE, 1)


def test_persistent_objects(both: Both) -> None:
    """Whose they may be, under which handles, and how they go again."""
    owned, platforms, null = 0x80000000, 0x80000001, 0x80000002
    for tester in both:
        for hierarchy in (RH.OWNER, RH.PLATFORM, RH.NULL):
            assert areas.create_primary(tester, areas.storage(), hierarchy=hierarchy).rc == 0
    for auth in (RH.OWNER, RH.PLATFORM, RH.ENDORSEMENT):
        for handle in (owned, platforms, null):
            for persistent in (0x81000007, 0x817FFFFF, 0x81800000, 0x81FFFFFF, 0x80000000):
                params = persistent.to_bytes(4)
                for _ in range(2):
                    agreed(both, Tester.run, CC.EVICT_CONTROL, [auth, handle], params, [Password()])
    for tester in both:
        assert flush(tester, null) == 0  # libtpms needs a slot to use a persistent object
    for auth, handle, persistent in (
        (RH.OWNER, 0x81000007, 0x817FFFFF),
        (RH.OWNER, 0x81800000, 0x81800000),
        (RH.PLATFORM, 0x81000007, 0x81000007),
        (RH.OWNER, 0x817FFFFF, 0x817FFFFF),
        (RH.OWNER, 0x817FFFFF, 0x817FFFFF),
    ):
        params = persistent.to_bytes(4)
        agreed(both, Tester.run, CC.EVICT_CONTROL, [auth, handle], params, [Password()])


@pytest.mark.parametrize("hierarchy", [RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM])
def test_a_public_area_can_be_persistent(
    tester: Tester, engine_peer: EnginePeer, hierarchy: int
) -> None:
    """Since version 185; it lasts as long as its hierarchy's seed."""
    auth = RH.PLATFORM if hierarchy == RH.PLATFORM else RH.OWNER
    persistent = 0x81800001 if hierarchy == RH.PLATFORM else 0x81000001
    evict = [CC.EVICT_CONTROL, [auth, 0x80000000], persistent.to_bytes(4), [Password()]]
    public = objects_made.ecc_key().public
    assert areas.load_external(tester, public, hierarchy=hierarchy).rc == 0
    assert tester.run(*evict).rc == 0  # type: ignore[arg-type]
    tester.reset()
    read = tester.run(CC.READ_PUBLIC, [persistent])
    assert (read.sized(0), read.sized(2)) == (public, areas.name_of(public))
    unusable = tester.run(CC.UNSEAL, [persistent], auths=[Password()])
    assert unusable.rc == RC.AUTH_UNAVAILABLE
    code, by = (CC.CHANGE_PPS, RH.PLATFORM) if hierarchy == RH.PLATFORM else (CC.CLEAR, RH.LOCKOUT)
    assert tester.run(code, [by], auths=[Password()]).rc == 0
    assert tester.run(CC.READ_PUBLIC, [persistent]).rc == handle_error(RC.HANDLE, 1)


def test_what_never_becomes_persistent(both: Both) -> None:
    """Objects of the NULL hierarchy, whole or public, sequences, and what has stClear above it."""
    template = areas.storage(areas.OWN | areas.ST_CLEAR)
    for tester in both:
        parent = areas.loaded_primary(tester, template)
        handles = [parent, areas.loaded_child(tester, parent, areas.sealed(), data=b"data")]
        external = areas.load_external(tester, objects_made.ecc_key().public).handle
        assert external is not None
        for handle in (*handles, external):
            params = (0x81000001).to_bytes(4)
            answer = tester.run(CC.EVICT_CONTROL, [RH.OWNER, handle], params, [Password()])
            assert answer.rc == handle_error(RC.ATTRIBUTES, 2)
        areas.flush(tester, external)
        sequence = hash_sequence(tester, ALG.SHA256)
        answer = tester.run(CC.EVICT_CONTROL, [RH.OWNER, sequence], params, [Password()])
        assert answer.rc == handle_error(RC.ATTRIBUTES, 2)
