"""Whether the own authority can issue certificates, and for how long."""

from collections.abc import Iterator
from typing import Final

from vtpmd.pki.store import Public

from .finding import Check, Found, ok
from .keys import ends

_REMEDY: Final = "`vtpmctl ca csr` and `ca import` give it a new issuing CA"


def _ends(public: Public | None) -> Iterator[Found]:
    if public is None:
        yield ok("it is made with the first TPM that it certifies")
        return
    yield ends("the root of the own authority", public.root.not_valid_after_utc, _REMEDY)
    issuer = public.current[0]
    if issuer != public.root:
        yield ends("the issuing CA of the own authority", issuer.not_valid_after_utc, _REMEDY)


CHECKS: Final = (Check("own authority", _ends),)
