"""Keys from a key management server that speaks KMIP 1.4."""

TYPE = "kmip"
