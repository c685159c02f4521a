"""A guest without an operating system, which sends its TPM whatever a test asks for."""
