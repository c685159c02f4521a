"""What the daemon, vtpmctl and other programs share: names, problems, the client."""
