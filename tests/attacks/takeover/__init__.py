"""What is put in the path of a daemon's Python, so that its workers do what an attacker would."""
