"""The command lines: vtpmctl for administrators, vtpmd for the service manager."""
