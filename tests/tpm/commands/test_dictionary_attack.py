"""Part 3, chapter 25, and protection against guessing (Part 1, 16.8)."""

import struct

import pytest

from tests.tpm import areas
from tests.tpm.agreement import agreed, parameter_error, session_error
from tests.tpm.commands.policy_steps import (
    AUTH_VALUE,
    PASSWORD,
    Assertion,
    policy_of,
    session_with,
)
from tests.tpm.harness import EnginePeer, Password, Result, Session, Tester, digest, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, PT, RH, SE, SU

Both = tuple[Tester, Tester]

FAILED = session_error(RC.AUTH_FAIL, 1)
SECRET = b"secret"
NO_POLICY = sized(b"") + ALG.NULL.to_bytes(2)


def property_of(tester: Tester, tag: int) -> int:
    params = struct.pack(">III", 6, tag, 1)
    return int.from_bytes(tester.run(CC.GET_CAPABILITY, params=params).parameters[-4:])


def counter(tester: Tester) -> int:
    return property_of(tester, PT.LOCKOUT_COUNTER)


def sealed(tester: Tester) -> int:
    return areas.loaded_primary(tester, areas.sealed(), auth=SECRET, data=b"data")


def unseal(tester: Tester, handle: int, password: bytes) -> int:
    return tester.run(CC.UNSEAL, [handle], auths=[Password(password)]).rc


def set_parameters(
    tester: Tester, tries: int, recovery: int, lockout_recovery: int, auth: bytes = b""
) -> int:
    params = struct.pack(">III", tries, recovery, lockout_recovery)
    code = CC.DICTIONARY_ATTACK_PARAMETERS
    return tester.run(code, [RH.LOCKOUT], params, [Password(auth)]).rc


def lock_reset(tester: Tester, auth: bytes = b"") -> int:
    code = CC.DICTIONARY_ATTACK_LOCK_RESET
    return tester.run(code, [RH.LOCKOUT], auths=[Password(auth)]).rc


def set_lockout_auth(tester: Tester, auth: bytes) -> None:
    changed = tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.LOCKOUT], sized(auth), [Password()])
    assert changed.rc == 0


def in_lockout(tester: Tester) -> bool:
    return bool(property_of(tester, PT.PERMANENT) >> 9 & 1)


@pytest.mark.parametrize("tries", [0, 1, 3, 5])
def test_thresholds(both: Both, tries: int) -> None:
    for tester in both:
        assert set_parameters(tester, tries, 1000, 1000) == 0
        handle = sealed(tester)
        for count in range(tries):
            assert counter(tester) == count
            assert not in_lockout(tester)
            assert unseal(tester, handle, b"guess") == FAILED
        assert in_lockout(tester)
        assert unseal(tester, handle, b"guess") == RC.LOCKOUT
        assert unseal(tester, handle, SECRET) == RC.LOCKOUT
        assert counter(tester) == tries
        if tries:
            assert lock_reset(tester) == 0
            assert counter(tester) == 0
            assert unseal(tester, handle, SECRET) == 0


def test_right_answers_do_not_reset_the_counter(both: Both) -> None:
    for tester in both:
        handle = sealed(tester)
        assert unseal(tester, handle, b"guess") == FAILED
        assert unseal(tester, handle, SECRET) == 0
        assert counter(tester) == 1


def test_new_parameters_forget_nothing(both: Both) -> None:
    for tester in both:
        handle = sealed(tester)
        assert unseal(tester, handle, b"guess") == FAILED
        assert unseal(tester, handle, b"guess") == FAILED
        assert set_parameters(tester, 2, 1000, 1000) == 0
        assert counter(tester) == 2
        assert unseal(tester, handle, SECRET) == RC.LOCKOUT
        assert set_parameters(tester, 3, 1000, 1000) == 0
        assert unseal(tester, handle, SECRET) == 0


def test_no_recovery_time_no_protection(tester: Tester, engine_peer: EnginePeer) -> None:
    handle = sealed(tester)
    assert unseal(tester, handle, b"guess") == FAILED
    assert set_parameters(tester, 2, 0, 1000) == 0
    engine_peer.clock.milliseconds += 1
    assert counter(tester) == 0
    for _ in range(5):
        assert unseal(tester, handle, b"guess") == FAILED
    assert counter(tester) == 0


def test_healing(tester: Tester, engine_peer: EnginePeer) -> None:
    """One try for each recoveryTime of Time, whatever Clock is set to."""
    assert set_parameters(tester, 3, 100, 1000) == 0
    handle = sealed(tester)
    for _ in range(3):
        assert unseal(tester, handle, b"guess") == FAILED
        engine_peer.clock.milliseconds += 10_000
    # 10 s have gone by since the last failure.
    far = (1 << 40).to_bytes(8)
    assert tester.run(CC.CLOCK_SET, [RH.OWNER], far, [Password()]).rc == 0
    assert counter(tester) == 3
    engine_peer.clock.milliseconds += 89_999
    assert unseal(tester, handle, SECRET) == RC.LOCKOUT
    engine_peer.clock.milliseconds += 1
    assert counter(tester) == 2
    assert unseal(tester, handle, SECRET) == 0
    engine_peer.clock.milliseconds += 99_999
    assert counter(tester) == 2
    engine_peer.clock.milliseconds += 1
    assert counter(tester) == 1
    engine_peer.clock.milliseconds += 1_000_000
    assert counter(tester) == 0


def test_all_that_a_long_time_heals_is_healed_at_once(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    """Also what is waited for by one who asks nothing meanwhile; the rest of the time counts on."""
    assert set_parameters(tester, 6, 100, 1000) == 0
    handle = sealed(tester)
    for _ in range(5):
        assert unseal(tester, handle, b"guess") == FAILED
    engine_peer.clock.milliseconds += 350_000
    assert counter(tester) == 2
    engine_peer.clock.milliseconds += 49_999
    assert counter(tester) == 2
    engine_peer.clock.milliseconds += 1
    assert counter(tester) == 1


def test_a_failure_begins_the_waiting_anew(tester: Tester, engine_peer: EnginePeer) -> None:
    assert set_parameters(tester, 5, 100, 1000) == 0
    handle = sealed(tester)
    for _ in range(3):
        assert unseal(tester, handle, b"guess") == FAILED
        engine_peer.clock.milliseconds += 99_000
    assert counter(tester) == 3


def test_waiting_goes_on_over_an_orderly_end_only(tester: Tester, engine_peer: EnginePeer) -> None:
    assert set_parameters(tester, 5, 100, 1000) == 0
    assert unseal(tester, sealed(tester), b"guess") == FAILED
    engine_peer.clock.milliseconds += 60_000
    assert tester.run(CC.SHUTDOWN, params=b"\0\0").rc == 0
    tester.reset()
    engine_peer.clock.milliseconds += 39_000
    assert counter(tester) == 1
    engine_peer.clock.milliseconds += 1_001
    assert counter(tester) == 0
    assert unseal(tester, sealed(tester), b"guess") == FAILED
    engine_peer.clock.milliseconds += 60_000
    tester.reset()
    assert counter(tester) == 2
    engine_peer.clock.milliseconds += 99_000
    assert counter(tester) == 2
    engine_peer.clock.milliseconds += 1_000  # of this start's Time, whenever the failure was
    assert counter(tester) == 1


def test_healing_is_stored(tester: Tester, engine_peer: EnginePeer) -> None:
    assert unseal(tester, sealed(tester), b"guess") == FAILED
    engine_peer.clock.milliseconds += 1_000_000
    assert counter(tester) == 0
    assert tester.run(CC.SHUTDOWN, params=b"\0\0").rc == 0
    tester.reset()
    assert counter(tester) == 0


def test_a_wrong_lockout_auth(both: Both) -> None:
    """One guess until lockoutRecovery is over; failedTries is not concerned."""
    for tester in both:
        set_lockout_auth(tester, SECRET)
        assert lock_reset(tester, b"guess") == FAILED
        assert lock_reset(tester, SECRET) == RC.LOCKOUT
        assert set_parameters(tester, 9, 9, 9, SECRET) == RC.LOCKOUT
        assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password(SECRET)]).rc == RC.LOCKOUT
        assert counter(tester) == 0
        assert unseal(tester, sealed(tester), SECRET) == 0
        assert tester.run(CC.SHUTDOWN, params=b"\0\0").rc == 0
        tester.reset()
        assert lock_reset(tester, SECRET) == RC.LOCKOUT
        assert tester.run(CC.CLEAR, [RH.PLATFORM], auths=[Password()]).rc == 0
        assert lock_reset(tester) == 0


def test_lockout_recovery(tester: Tester, engine_peer: EnginePeer) -> None:
    set_lockout_auth(tester, SECRET)
    assert set_parameters(tester, 3, 100, 500, SECRET) == 0
    assert lock_reset(tester, b"guess") == FAILED
    engine_peer.clock.milliseconds += 499_999
    assert lock_reset(tester, SECRET) == RC.LOCKOUT
    engine_peer.clock.milliseconds += 1
    assert lock_reset(tester, SECRET) == 0


def test_lockout_recovery_of_zero_is_a_restart(both: Both) -> None:
    for tester in both:
        set_lockout_auth(tester, SECRET)
        assert set_parameters(tester, 3, 100, 0, SECRET) == 0
        assert lock_reset(tester, b"guess") == FAILED
        assert lock_reset(tester, SECRET) == RC.LOCKOUT
        assert tester.run(CC.SHUTDOWN, params=b"\0\0").rc == 0
        tester.reset()
        assert lock_reset(tester, SECRET) == 0


def test_no_time_is_long_enough_for_a_lockout_recovery_of_zero(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    set_lockout_auth(tester, SECRET)
    assert set_parameters(tester, 3, 100, 0, SECRET) == 0
    assert lock_reset(tester, b"guess") == FAILED
    engine_peer.clock.milliseconds += 1_000_000_000
    assert lock_reset(tester, SECRET) == RC.LOCKOUT


def test_the_lockout_policy_frees_lockout_auth(tester: Tester) -> None:
    """Part 1, 16.8.5 (libtpms 0.9.2 keeps it locked)."""
    set_lockout_auth(tester, SECRET)
    policy = digest(ALG.SHA256, bytes(32), CC.POLICY_COMMAND_CODE.to_bytes(4), b"\0\0\x01\x39")
    params = sized(policy) + b"\0\x0b"
    changed = tester.run(CC.SET_PRIMARY_POLICY, [RH.LOCKOUT], params, [Password(SECRET)])
    assert changed.rc == 0
    assert lock_reset(tester, b"guess") == FAILED
    session = tester.start_session(SE.POLICY)
    code = CC.DICTIONARY_ATTACK_LOCK_RESET
    assert tester.run(CC.POLICY_COMMAND_CODE, [session.handle], code.to_bytes(4)).rc == 0
    assert tester.run(code, [RH.LOCKOUT], auths=[session]).rc == 0
    assert lock_reset(tester, SECRET) == 0


def test_a_failure_is_stored_before_it_is_answered(tester: Tester, engine_peer: EnginePeer) -> None:
    """The host has the new count when the guest learns of the failure: no reset undoes it."""
    handle = sealed(tester)
    assert tester.run(CC.CONTEXT_SAVE, [handle]).rc == 0
    for count in (1, 2, 3):
        engine_peer.stored = b""
        assert unseal(tester, handle, b"guess") == FAILED
        stored = Tester(EnginePeer.restored(engine_peer.stored))
        assert stored.startup() == 0
        assert counter(stored) == min(3, count + 1)  # and one for the disorderly end
    assert unseal(tester, handle, SECRET) == RC.LOCKOUT


def test_the_first_use_is_stored_and_no_further_one(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    handle = sealed(tester)
    stored = engine_peer.stored
    assert unseal(tester, handle, SECRET) == 0
    assert engine_peer.stored != stored
    stored = engine_peer.stored
    assert unseal(tester, handle, SECRET) == 0
    assert engine_peer.stored == stored


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("orderly", [False, True])
def test_a_disorderly_end_counts_after_use_only(tester: Tester, used: bool, orderly: bool) -> None:
    if used:
        assert unseal(tester, sealed(tester), SECRET) == 0
    if orderly:
        assert tester.run(CC.SHUTDOWN, params=b"\0\0").rc == 0
    tester.reset()
    assert counter(tester) == (used and not orderly)
    tester.reset()
    assert counter(tester) == (used and not orderly)


def test_use_after_a_shutdown_counts(tester: Tester) -> None:
    """Part 1, 16.8.6, warns of TPMs that forget."""
    handle = sealed(tester)
    assert tester.run(CC.SHUTDOWN, params=b"\0\0").rc == 0
    assert unseal(tester, handle, SECRET) == 0
    tester.reset()
    assert counter(tester) == 1


def test_a_use_before_a_shutdown_is_accounted_for(both: Both) -> None:
    """Also if something else makes the end disorderly later."""
    for tester in both:
        assert unseal(tester, sealed(tester), SECRET) == 0
        assert tester.run(CC.SHUTDOWN, params=b"\0\0").rc == 0
        assert tester.run(CC.CLOCK_SET, [RH.OWNER], (1 << 40).to_bytes(8), [Password()]).rc == 0
        tester.reset()
        assert counter(tester) == 0


def test_a_failure_after_a_shutdown_ends_what_was_orderly(tester: Tester) -> None:
    """One for the failure, one for the disorderly end after a use; and there is no resuming."""
    handle = sealed(tester)
    assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
    assert unseal(tester, handle, b"guess") == FAILED
    tester.peer.reset()
    assert tester.startup(SU.STATE) == parameter_error(RC.VALUE, 1)
    assert tester.startup() == 0
    assert counter(tester) == 2


def test_lockout_auth_and_what_has_no_protection_do_not_count_as_use(tester: Tester) -> None:
    assert lock_reset(tester) == 0
    assert tester.run(CC.CLEAR_CONTROL, [RH.PLATFORM], b"\0", [Password()]).rc == 0
    tester.reset()
    assert counter(tester) == 0


def test_no_guess_is_free_while_nothing_can_be_stored(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    """Right or wrong, there is one answer: else wrong guesses would be told and not counted."""
    handle = sealed(tester)
    assert unseal(tester, handle, SECRET) == 0
    bound = tester.start_session(bind=handle, bind_auth=b"guess")
    engine_peer.engine.nv_available = False
    for password in (b"guess", SECRET):
        assert unseal(tester, handle, password) == RC.NV_UNAVAILABLE
        assert lock_reset(tester, password) == RC.NV_UNAVAILABLE
    params = [RH.OWNER], b"\0\0\0\x10", [bound]
    assert tester.run(CC.SET_PRIMARY_POLICY, *params).rc == RC.NV_UNAVAILABLE
    engine_peer.engine.nv_available = True
    assert unseal(tester, handle, SECRET) == 0
    assert counter(tester) == 0


def test_parameters_need_lockout_auth(both: Both) -> None:
    for tester in both:
        set_lockout_auth(tester, SECRET)
    params = struct.pack(">III", 1, 1, 1)

    def other(tester: Tester, handle: int) -> Result:
        code = CC.DICTIONARY_ATTACK_PARAMETERS
        return tester.run(code, [handle], params, [Password(SECRET)])

    for handle in (RH.OWNER, RH.PLATFORM, RH.NULL, RH.LOCKOUT):
        agreed(both, other, handle)
    for tag in (PT.MAX_AUTH_FAIL, PT.LOCKOUT_INTERVAL, PT.LOCKOUT_RECOVERY):
        assert [property_of(tester, tag) for tester in both] == [1, 1]


def set_owner_policy(tester: Tester, session: Session | None = None) -> int:
    """TPM2_SetPrimaryPolicy, as something that the owner authorizes."""
    auth = session or Password()
    return tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], NO_POLICY, [auth]).rc


@pytest.mark.parametrize("kind", [SE.HMAC, SE.POLICY])
def test_a_session_bound_to_lockout_is_one_guess_at_it(both: Both, kind: int) -> None:
    """Whatever the session is for: a try at lockoutAuth, of which there is one, and no other."""
    policy = digest(ALG.SHA256, bytes(32), CC.POLICY_AUTH_VALUE.to_bytes(4))
    for tester in both:
        set_lockout_auth(tester, SECRET)
        if kind == SE.POLICY:
            params = sized(policy) + ALG.SHA256.to_bytes(2)
            changed = tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], params, [Password()])
            assert changed.rc == 0
        right, guess = (
            tester.start_session(kind, bind=RH.LOCKOUT, bind_auth=auth)
            for auth in (SECRET, b"guess")
        )
        if kind == SE.POLICY:
            for session in (right, guess):
                assert tester.run(CC.POLICY_AUTH_VALUE, [session.handle]).rc == 0
        assert set_owner_policy(tester, guess) == FAILED
        assert counter(tester) == 0
        assert not in_lockout(tester)
        assert lock_reset(tester, SECRET) == RC.LOCKOUT
        # What is bound to lockoutAuth may not be used while lockoutAuth may not; others may.
        assert set_owner_policy(tester, right) == RC.LOCKOUT
        assert set_owner_policy(tester) == 0
        assert unseal(tester, sealed(tester), SECRET) == 0


def test_failed_tries_do_not_concern_a_session_bound_to_lockout(both: Both) -> None:
    for tester in both:
        set_lockout_auth(tester, SECRET)
        bound = tester.start_session(bind=RH.LOCKOUT, bind_auth=SECRET)
        handle = sealed(tester)
        assert set_parameters(tester, 1, 1000, 1000, SECRET) == 0
        assert unseal(tester, handle, b"guess") == FAILED
        assert unseal(tester, handle, SECRET) == RC.LOCKOUT
        assert set_owner_policy(tester, bound) == 0
        assert lock_reset(tester, SECRET) == 0
        assert unseal(tester, handle, SECRET) == 0


@pytest.mark.parametrize("wrong", ["bound authValue", "lockoutAuth"])
def test_a_session_bound_to_an_object_guesses_at_lockout_auth(both: Both, wrong: str) -> None:
    """The entity that it authorizes counts, not the one it is bound to, though both take part."""
    for tester in both:
        set_lockout_auth(tester, SECRET)
        handle = sealed(tester)
        bind_auth = b"guess" if wrong == "bound authValue" else SECRET
        session = tester.start_session(bind=handle, bind_auth=bind_auth)
        session.auth_value = b"guess" if wrong == "lockoutAuth" else SECRET
        code = CC.DICTIONARY_ATTACK_LOCK_RESET
        assert tester.run(code, [RH.LOCKOUT], auths=[session]).rc == FAILED
        assert counter(tester) == 0
        assert lock_reset(tester, SECRET) == RC.LOCKOUT
        assert unseal(tester, handle, SECRET) == 0


def test_a_session_bound_to_an_object_is_locked_out_with_it(both: Both) -> None:
    """Even of authorizing lockoutAuth: its key is a try at the object's authValue."""
    for tester in both:
        handle = sealed(tester)
        session = tester.start_session(bind=handle, bind_auth=SECRET)
        assert set_parameters(tester, 0, 1000, 1000) == 0
        code = CC.DICTIONARY_ATTACK_LOCK_RESET
        assert tester.run(code, [RH.LOCKOUT], auths=[session]).rc == RC.LOCKOUT
        assert set_owner_policy(tester, session) == RC.LOCKOUT
        assert lock_reset(tester) == 0


def test_lockout_concerns_what_proves_a_protected_auth_value(both: Both) -> None:
    """Neither a policy without the authValue nor what has no protection."""
    for tester in both:
        assert set_parameters(tester, 0, 1000, 1000) == 0
        assert in_lockout(tester)
        template = areas.keyedhash(areas.FIXED | areas.USER_AUTH, policy=bytes(32))
        handle = areas.loaded_primary(tester, template, auth=SECRET, data=b"data")
        assert unseal(tester, handle, SECRET) == RC.LOCKOUT
        session = tester.start_session(SE.POLICY)
        assert tester.run(CC.UNSEAL, [handle], auths=[session]).rc == 0
        template = areas.sealed(areas.FIXED | areas.USER_AUTH | areas.NO_DA)
        exempt = areas.loaded_primary(tester, template, auth=SECRET, data=b"data")
        assert unseal(tester, exempt, b"guess") == session_error(RC.BAD_AUTH, 1)
        assert unseal(tester, exempt, SECRET) == 0
        assert lock_reset(tester) == 0


@pytest.mark.parametrize("assertion", [AUTH_VALUE, PASSWORD], ids=["authValue", "password"])
def test_a_policy_that_needs_the_auth_value_is_a_try(both: Both, assertion: Assertion) -> None:
    """Given in clear or proven: wrong, it is counted, and in lockout it isn't looked at."""
    policy = policy_of(ALG.SHA256, assertion)

    def attempt(tester: Tester, handle: int, value: bytes) -> int:
        session = session_with(tester, assertion)
        session.auth_value = value
        session.password = value if assertion is PASSWORD else None
        rc = tester.run(CC.UNSEAL, [handle], auths=[session]).rc
        areas.flush(tester, session.handle)
        return rc

    for tester in both:
        assert set_parameters(tester, 2, 1000, 1000) == 0
        template = areas.keyedhash(areas.FIXED, policy=policy)
        handle = areas.loaded_primary(tester, template, auth=SECRET, data=b"data")
        assert attempt(tester, handle, SECRET) == 0
        for count in (1, 2):
            assert attempt(tester, handle, b"guess") == FAILED
            assert counter(tester) == count
        assert attempt(tester, handle, SECRET) == RC.LOCKOUT
        assert lock_reset(tester) == 0
        assert attempt(tester, handle, SECRET) == 0


def test_a_wrong_hmac_guesses_at_nothing_that_it_does_not_prove(both: Both) -> None:
    """A policy without the authValue: RC.BAD_AUTH, and no try is counted."""
    for tester in both:
        params = sized(bytes(32)) + ALG.SHA256.to_bytes(2)
        changed = tester.run(CC.SET_PRIMARY_POLICY, [RH.LOCKOUT], params, [Password()])
        assert changed.rc == 0
        template = areas.keyedhash(areas.FIXED, policy=bytes(32))
        handle = areas.loaded_primary(tester, template, auth=SECRET, data=b"data")
        session = tester.start_session(SE.POLICY)
        session.always_proves = session.tamper = True
        for code, entity in ((CC.UNSEAL, handle), (CC.DICTIONARY_ATTACK_LOCK_RESET, RH.LOCKOUT)):
            answer = tester.run(code, [entity], auths=[session])
            assert answer.rc == session_error(RC.BAD_AUTH, 1)
        assert counter(tester) == 0
        assert lock_reset(tester) == 0


def test_waiting_for_lockout_auth_begins_with_the_failure(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    """Not with the power cycle, and anew with every failure."""
    set_lockout_auth(tester, SECRET)
    assert set_parameters(tester, 3, 100, 500, SECRET) == 0
    for _ in range(2):
        engine_peer.clock.milliseconds += 1_000_000
        assert lock_reset(tester, b"guess") == FAILED
        engine_peer.clock.milliseconds += 499_999
        assert lock_reset(tester, SECRET) == RC.LOCKOUT
        engine_peer.clock.milliseconds += 1
        assert lock_reset(tester, SECRET) == 0


@pytest.mark.parametrize("orderly", [True, False])
def test_waiting_for_lockout_auth_goes_on_over_an_orderly_end_only(
    tester: Tester, engine_peer: EnginePeer, orderly: bool
) -> None:
    set_lockout_auth(tester, SECRET)
    assert set_parameters(tester, 3, 100, 500, SECRET) == 0
    engine_peer.clock.milliseconds += 1_000_000
    assert lock_reset(tester, b"guess") == FAILED
    engine_peer.clock.milliseconds += 200_000
    if orderly:
        assert tester.run(CC.SHUTDOWN, params=b"\0\0").rc == 0
    engine_peer.clock.milliseconds += 50_000  # after the TPM2_Shutdown it counts for nothing
    tester.reset()
    remaining = 300_000 if orderly else 500_000
    engine_peer.clock.milliseconds += remaining - 1
    assert lock_reset(tester, SECRET) == RC.LOCKOUT
    engine_peer.clock.milliseconds += 1
    assert lock_reset(tester, SECRET) == 0


def test_waiting_after_a_failure_goes_on_from_when_it_was(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    """What is left of a recoveryTime when a try is forgiven counts for the next."""
    assert set_parameters(tester, 5, 100, 1000) == 0
    handle = sealed(tester)
    engine_peer.clock.milliseconds += 70_000
    for _ in range(3):
        assert unseal(tester, handle, b"guess") == FAILED
    engine_peer.clock.milliseconds += 99_999
    assert counter(tester) == 3
    engine_peer.clock.milliseconds += 60_001
    assert counter(tester) == 2
    engine_peer.clock.milliseconds += 39_999
    assert counter(tester) == 2
    engine_peer.clock.milliseconds += 1
    assert counter(tester) == 1


def test_a_disorderly_end_is_no_try_too_many(tester: Tester) -> None:
    """failedTries ends at maxTries, and without a recoveryTime it stays as it is."""
    assert set_parameters(tester, 2, 1000, 1000) == 0
    handle = sealed(tester)
    for _ in range(2):
        assert unseal(tester, handle, b"guess") == FAILED
    tester.reset()
    assert counter(tester) == 2
    assert set_parameters(tester, 9, 0, 1000) == 0
    assert lock_reset(tester) == 0
    assert unseal(tester, sealed(tester), SECRET) == 0
    tester.reset()
    assert counter(tester) == 0
