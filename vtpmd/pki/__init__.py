"""The own certificate authority, its ledger, and certificates of foreign ones."""
