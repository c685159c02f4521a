"""TCG event logs: read, replayed into PCR values, and what they prove of a boot."""
