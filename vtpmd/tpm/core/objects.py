"""Loaded objects: what they are, and the slots they are in (Part 1, clauses 23 and 26)."""

from ..crypto.rsa import RsaKey
from ..rc import RC, TpmError
from ..state import MAX_LOADED_OBJECTS, Hierarchy, LoadedObject, Tpm
from ..wire.attributes import TPMA_OBJECT
from ..wire.constants import ALG, HT
from ..wire.objects import TPMT_PUBLIC, TPMT_SENSITIVE
from .names import object_name, qualified_name

_SLOTS = frozenset((HT.TRANSIENT << 24) + slot for slot in range(MAX_LOADED_OBJECTS))
"""The handles of transient objects."""
# Looking up a member of an Enum takes 0.1 µs in Python 3.11: what loads objects needs these.
_NO_ALGORITHM, _KEYEDHASH = int(ALG.NULL), int(ALG.KEYEDHASH)
STORAGE = TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT
"""What the attributes of every parent have in common."""
FIXED = TPMA_OBJECT.FIXED_TPM | TPMA_OBJECT.FIXED_PARENT
SHARING_SEEDS = frozenset({ALG.RSA, ALG.ECC, ALG.MLKEM})
"""Types of keys with whose holder a seed can be shared (Part 1, 8.4.5.2)."""
LIMITED = TPMA_OBJECT.FIRMWARE_LIMITED | TPMA_OBJECT.SVN_LIMITED


def has(public: TPMT_PUBLIC, attributes: int) -> bool:
    """Whether all of these TPMA_OBJECT bits are SET."""
    return public.object_attributes & attributes == attributes


def is_parent(candidate: LoadedObject) -> bool:
    """Whether it is a Storage Parent: it protects children with its seedValue."""
    return candidate.public.type != _KEYEDHASH and _protects(candidate)


def is_derivation_parent(candidate: LoadedObject) -> bool:
    """Whether objects can be derived from it (Part 1, clause 25)."""
    return candidate.public.type == _KEYEDHASH and _protects(candidate)


def _protects(candidate: LoadedObject) -> bool:
    public = candidate.public
    return (
        candidate.sensitive is not None
        and not candidate.external
        and has(public, STORAGE)
        and public.name_alg != _NO_ALGORITHM
    )


def is_child(candidate: LoadedObject, parent: LoadedObject) -> bool:
    """Whether this Storage Parent protects it; none protects external and derived objects."""
    return (
        is_parent(parent)
        and not candidate.external
        and candidate.qualified_name
        == qualified_name(parent, candidate.public.name_alg, candidate.name)
    )


def is_asymmetric_storage(public: TPMT_PUBLIC) -> bool:
    """Whether objects can be duplicated to the holder of this key; the public area is enough."""
    return (
        public.type in SHARING_SEEDS
        and has(public, STORAGE)
        and not has(public, TPMA_OBJECT.SIGN_ENCRYPT)
    )


def require_slot(tpm: Tpm) -> None:
    """Raise RC.OBJECT_MEMORY if no further object can be loaded."""
    if len(tpm.volatile.objects) >= MAX_LOADED_OBJECTS:
        raise TpmError(RC.OBJECT_MEMORY)


def add(tpm: Tpm, loaded: LoadedObject) -> int:
    """Put an object into a slot and return its handle. RC.OBJECT_MEMORY."""
    require_slot(tpm)
    loaded.handle = min(_SLOTS.difference(tpm.volatile.objects))
    tpm.volatile.objects[loaded.handle] = loaded
    return loaded.handle


def flush_hierarchy(tpm: Tpm, hierarchy: int) -> None:
    """Flush every transient object of a hierarchy, external ones too (Part 1, 26.4)."""
    tpm.volatile.objects = {
        handle: loaded
        for handle, loaded in tpm.volatile.objects.items()
        if loaded.hierarchy != hierarchy
    }


def child(
    parent: LoadedObject | Hierarchy,
    public: TPMT_PUBLIC,
    sensitive: TPMT_SENSITIVE,
    name: bytes,
    rsa_key: RsaKey | None = None,
) -> LoadedObject:
    """An object below a parent, or a Primary Object of a hierarchy; not yet in a slot."""
    if isinstance(parent, Hierarchy):
        hierarchy, st_clear = parent.handle, False
    else:
        hierarchy, st_clear = parent.hierarchy, parent.st_clear
    return LoadedObject(
        public=public,
        sensitive=sensitive,
        name=name,
        qualified_name=qualified_name(parent, public.name_alg, name),
        hierarchy=hierarchy,
        st_clear=st_clear or has(public, TPMA_OBJECT.ST_CLEAR),
        rsa_key=rsa_key,
    )


def external(public: TPMT_PUBLIC, sensitive: TPMT_SENSITIVE | None, hierarchy: int) -> LoadedObject:
    """An object that this TPM does not protect (Part 1, 26.4); not yet in a slot."""
    name = object_name(public)
    return LoadedObject(
        public=public,
        sensitive=sensitive,
        name=name,
        qualified_name=name,
        hierarchy=hierarchy,
        external=True,
        st_clear=has(public, TPMA_OBJECT.ST_CLEAR),
    )
