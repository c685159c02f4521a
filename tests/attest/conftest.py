"""A TPM and tpm2-tools, for the tests that need a real one."""

from tests.conformance.conftest import served, tools

__all__ = ["served", "tools"]
