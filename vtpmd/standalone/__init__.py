"""One TPM in a process of its own, under swtpm's command line: no daemon, no supervisor."""
