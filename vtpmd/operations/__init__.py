"""What administrators can ask for: one module per verb."""
