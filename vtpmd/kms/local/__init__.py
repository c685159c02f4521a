"""The key provider for KEKs in a keyring on this host."""

TYPE = "local"
