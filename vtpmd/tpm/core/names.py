"""Names of objects (Part 1, clause 13 and 23.5)."""

from ..crypto.hashes import digest
from ..state import Hierarchy, LoadedObject
from ..wire.constants import ALG
from ..wire.objects import TPMT_PUBLIC

_NO_ALGORITHM = int(ALG.NULL)  # looking up a member of an Enum takes 0.1 µs in Python 3.11


def object_name(public: TPMT_PUBLIC) -> bytes:
    """nameAlg || H(public area); empty if the object has no nameAlg."""
    if public.name_alg == _NO_ALGORITHM:
        return b""
    return public.name_alg.to_bytes(2) + digest(public.name_alg, public.marshal())


def parent_qualified_name(parent: LoadedObject | Hierarchy) -> bytes:
    """The Qualified Name of a parent; a hierarchy's is its handle."""
    return parent.name if isinstance(parent, Hierarchy) else parent.qualified_name


def qualified_name(parent: LoadedObject | Hierarchy, name_alg: int, name: bytes) -> bytes:
    """nameAlg || H(Qualified Name of the parent || Name), of an object that has a nameAlg."""
    return name_alg.to_bytes(2) + digest(name_alg, parent_qualified_name(parent), name)
