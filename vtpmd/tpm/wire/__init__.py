"""What goes over the interface (Part 2): constants, types and structures, and their codec."""
