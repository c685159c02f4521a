"""Two TPMs with the same secrets, and what a random walk knows of both."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.differential.differences import explains
from tests.oracles import libtpms_state
from tests.tpm import harness
from tests.tpm.commands.policy_steps import Assertion, session_with
from tests.tpm.harness import EnginePeer, Password, Result, Session, Tester
from tests.tpm.raw import code_of
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import CC, RH, SE

Both = tuple[bytes, bytes]
"""What differs between the two: the engine's and swtpm's."""
Value = bytes | Both
Comparable = Callable[[Result], object]
Auth = tuple[Password | Session, Password | Session]

OWNER, ENDORSEMENT = int(RH.OWNER), int(RH.ENDORSEMENT)
PLATFORM, LOCKOUT, NULL = int(RH.PLATFORM), int(RH.LOCKOUT), int(RH.NULL)
TRANSIENT_SLOTS = 3
_SEEDED = {"owner": "o", "endorsement": "e", "platform": "p"}


def everything(result: Result) -> object:
    """All of an answer is deterministic."""
    return result.parameters.hex()


def shape(result: Result) -> object:
    """Only the size of the answer is."""
    return len(result.parameters)


def nothing(result: Result) -> object:
    """Not even the size is."""
    return None


class DivergedError(Exception):
    """An explained difference, after which both are different TPMs: the walk ends here."""


@dataclass
class Loaded:
    """An object or sequence in a transient slot, or a persistent object."""

    handle: int
    public: Both
    auth: bytes
    hierarchy: int
    is_sequence: bool = False

    @property
    def equal(self) -> bool:
        """It is the same key in both."""
        return self.public[0] == self.public[1] and self.hierarchy != NULL


@dataclass
class Made:
    """What TPM2_Create or TPM2_Import has returned."""

    public: Both
    private: Both
    auth: bytes
    parent: Both


@dataclass
class Started:
    """A session that both have."""

    both: tuple[Session, Session]
    kind: int
    alg: int
    encrypts: bool
    bound: tuple[int, bytes, Both] | None = None
    """Handle, authValue and Names of what it is bound to."""
    needs: str = ""
    """What a policy session has to prove beside its policy: "", "value" or "password"."""

    @property
    def handle(self) -> int:
        return self.both[0].handle


@dataclass
class World:
    """Both TPMs; every command goes through `run`, which compares."""

    engine: Tester
    swtpm: Tester
    state: Path
    """Where swtpm keeps its state."""
    objects: dict[int, Loaded] = field(default_factory=dict)
    sessions: dict[int, Started] = field(default_factory=dict)
    contexts: list[tuple[Both, Loaded | Started]] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    auths: dict[int, bytes] = field(default_factory=dict)
    """authValues of hierarchies and indices, by handle."""
    policies: list[bytes] = field(default_factory=list)
    locality: int = 0
    history: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def testers(self) -> tuple[Tester, Tester]:
        return self.engine, self.swtpm

    def run(
        self,
        code: int,
        handles: Sequence[int] = (),
        params: Value = b"",
        auths: Sequence[Auth] = (),
        *,
        compare: Comparable = everything,
    ) -> tuple[Result, Result]:
        """Run a command on both. AssertionError if they disagree, DivergedError if known."""
        both = (params, params) if isinstance(params, bytes) else params
        self.history.append(
            f"{CC(code).name} {[hex(handle) for handle in handles]} {both[0].hex()} "
            f"{[_shown(ours) for ours, _ in auths]}"
        )
        ours, theirs = (
            tester.run(code, handles, both[side], [auth[side] for auth in auths])
            for side, tester in enumerate(self.testers)
        )
        self.history[-1] += f" -> {ours.rc:#x}"
        self.counts["commands"] += 1
        self.counts[f"{CC(code).name} {'failed' if ours.rc else 'succeeded'}"] += 1
        if ours.rc != theirs.rc:
            reason = explains(self.engine.sent, ours.rc, theirs.rc)
            assert reason, f"{ours.rc:#x}, swtpm {theirs.rc:#x}"
            self.counts[f"difference: {reason}"] += 1
            if not (ours.rc and theirs.rc) or theirs.rc == RC.FAILURE:
                raise DivergedError(reason)
        elif not ours.rc:
            if ours.handle != theirs.handle:
                # libtpms needs a slot for the persistent parent, so that the next one is taken.
                assert any(handle >> 24 == 0x81 for handle in handles)
                raise DivergedError("slots")
            seen = compare(ours), compare(theirs)
            assert seen[0] == seen[1], f"{seen[0]}, swtpm {seen[1]}"
        self._after(ours.rc, auths)
        return ours, theirs

    def _after(self, rc: int, auths: Sequence[Auth]) -> None:
        for auth in auths:
            session = auth[0]
            if isinstance(session, Password):
                continue
            started = self.sessions.get(session.handle)
            for each in auth:
                assert isinstance(each, Session)
                each.tamper, each.next_auth_value = False, None
            if rc or started is None:
                continue
            if session.attributes & harness.AUDIT:
                started.bound = None  # Part 1, 17.1: an audit session is bound to nothing
            if not session.attributes & harness.CONTINUE:
                del self.sessions[session.handle]
            elif started.kind == SE.POLICY:
                started.needs = ""

    def raw(self, command: Value) -> int:
        """Send octets as they are; the response code on which both agree, or ours."""
        both = (command, command) if isinstance(command, bytes) else command
        ours, theirs = (
            code_of(tester.raw(octets)) for tester, octets in zip(self.testers, both, strict=True)
        )
        assert ours == theirs or explains(both[0], ours, theirs), (
            f"{both[0].hex()}: {ours:#x}, swtpm {theirs:#x}"
        )
        return ours

    def auth_of(self, handle: int) -> bytes:
        """The authValue of any entity."""
        if handle in self.objects:
            return self.objects[handle].auth
        return self.auths.get(handle, b"")

    def authorize(self, draw: Random, handle: int, next_auth: bytes | None = None) -> Auth:
        """An authorization of an entity: mostly the right one, by password or in a session.

        `next_auth` is its authValue once the command has succeeded, if that is another one.
        """
        value = self.auth_of(handle)
        if draw.random() < 0.03:
            value += b"?"
        if not self.sessions or draw.random() < 0.6:
            return Password(value), Password(value)
        started = draw.choice(list(self.sessions.values()))
        attributes = draw.choice((1, 1, 1, 0))
        if started.encrypts and value == self.auth_of(handle):
            attributes |= draw.choice((0, harness.DECRYPT, harness.ENCRYPT, 0x60))
        attributes |= draw.choice((0,) * 6 + (harness.AUDIT, harness.AUDIT | harness.AUDIT_RESET))
        tamper = draw.random() < 0.03
        for side, session in enumerate(started.both):
            session.attributes, session.auth_value = attributes, value
            session.tamper, session.next_auth_value = tamper, next_auth
            session.password = value if started.needs == "password" else None
            session.proves_auth_value = (
                started.needs == "value"
                if started.kind != SE.HMAC
                else not self._is_bound(started, handle, side)
            )
        return started.both

    def password(self, handle: int) -> Auth:
        """The right authorization of an entity."""
        value = self.auth_of(handle)
        return Password(value), Password(value)

    def policy_session(self, draw: Random, assertion: Assertion) -> Auth:
        """A new policy session in which an assertion has succeeded; it ends with its use."""
        ours, theirs = (session_with(tester, assertion) for tester in self.testers)
        started = Started((ours, theirs), SE.POLICY, ours.alg, encrypts=False)
        self.sessions[started.handle] = started
        ours.attributes = theirs.attributes = draw.choice((0, harness.CONTINUE))
        return started.both

    def _is_bound(self, started: Started, handle: int, side: int) -> bool:
        if started.bound is None:
            return False
        _, auth, names = started.bound
        return names[side] == self.testers[side].name(handle) and auth == self.auth_of(handle)

    def names(self, handle: int) -> Both:
        """Names of an entity."""
        ours, theirs = (tester.name(handle) for tester in self.testers)
        return ours, theirs

    def add(self, results: tuple[Result, Result], loaded: Loaded) -> None:
        """Remember a loaded object if the command has succeeded."""
        if results[0].handle is not None and not results[0].rc:
            loaded.handle = results[0].handle
            self.objects[loaded.handle] = loaded

    def transient(self) -> list[int]:
        """Handles of transient objects."""
        return [handle for handle in self.objects if handle >> 24 == 0x80]

    def free(self, slots: int = 1) -> bool:
        """Whether there are free slots: libtpms needs one to use a persistent object."""
        return len(self.transient()) + slots <= TRANSIENT_SLOTS

    def an_object(self, draw: Random) -> Loaded | None:
        """Any object that can be used."""
        usable = [
            loaded for handle, loaded in self.objects.items() if handle >> 24 == 0x80 or self.free()
        ]
        return draw.choice(usable) if usable else None

    def forget(self, hierarchy: int, *, persistent: bool = True) -> None:
        """Objects of a hierarchy are gone."""
        self.objects = {
            handle: loaded
            for handle, loaded in self.objects.items()
            if loaded.hierarchy != hierarchy or (handle >> 24 == 0x81 and not persistent)
        }

    def count_alike(self) -> None:
        """Let the engine have been reset as often as swtpm has."""
        assert isinstance(self.engine.peer, EnginePeer)
        resets = self.swtpm.run(CC.READ_CLOCK).parameters[16:20]
        self.engine.peer.engine._tpm.permanent.reset_count = int.from_bytes(resets)
        self.engine.peer.keep()

    def synchronize(self) -> None:
        """Give the engine the seeds and proofs that swtpm has drawn anew."""
        assert isinstance(self.engine.peer, EnginePeer)
        state = libtpms_state.read(self.state / "tpm2-00.permall")
        permanent = self.engine.peer.engine._tpm.permanent
        for name, letter in _SEEDED.items():
            hierarchy = getattr(permanent, name)
            hierarchy.seed, hierarchy.proof = state.seeds[letter], state.proofs[letter]
        self.engine.peer.keep()


def _shown(auth: Password | Session) -> str:
    if isinstance(auth, Password):
        return f"password {auth.value!r}"
    return f"session {auth.handle:#x} {auth.attributes:#x} {auth.auth_value!r}"
