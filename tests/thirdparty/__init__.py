"""Other projects' test suites, unmodified, against vtpmd."""
