"""vtpmd-swtpm: its words, and real processes with real clients."""
