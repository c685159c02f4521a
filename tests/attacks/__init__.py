"""Attacks on the walls: by a guest, by a worker that was taken over, by neighbours on the host."""
