"""What is installed: packages, the wheel, man pages, completions."""
