"""Why evidence cannot be judged, or a certificate is not believed."""


class MalformedError(ValueError):
    """Evidence is not what it should be; the text says what is wrong with it."""


class CertificateError(Exception):
    """A certificate does not vouch for its key; the text says why."""
