"""What sleeping TPMs need to wake: a tiny process that outlives the daemon and parses nothing."""
