"""Keys of the Transit secrets engine of OpenBao or HashiCorp Vault."""

TYPE = "vault"
