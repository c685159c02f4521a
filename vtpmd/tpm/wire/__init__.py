"""The wire format (Part 2): constants, types and structures, and their codec."""
