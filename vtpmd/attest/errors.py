"""Why evidence cannot be judged, or a key is not believed."""


class MalformedError(ValueError):
    """Evidence is not what it should be; the text says what is wrong with it."""


class CertificateError(Exception):
    """A certificate does not vouch for its key; the text says why."""


class NotProvenError(Exception):
    """A key is not shown to be an attestation key of a TPM; the text says why."""
