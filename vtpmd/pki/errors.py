"""What can go wrong with certificates, in words for whoever brought or keeps them."""


class PkiError(Exception):
    """Base of what this package raises."""


class RefusedError(PkiError):
    """What was given is refused as a whole; the text says which file and why."""


class DamagedError(PkiError):
    """A file of the authority cannot be used; it is left as it is."""


class ConflictError(PkiError):
    """A key is certified, or known, for another identity."""
