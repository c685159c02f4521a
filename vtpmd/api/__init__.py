"""What the daemon, vtpmctl and other programs share: names, schema, problems, the client."""
