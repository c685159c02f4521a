"""Keys in a token that a PKCS#11 module gives access to, such as a hardware security module."""

TYPE = "pkcs11"
