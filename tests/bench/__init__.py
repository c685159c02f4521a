"""Measures vtpmd beside swtpm: the same commands, at the same time, on the same machine."""
