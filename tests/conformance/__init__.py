"""tpm2-tools, unmodified, against a served instance: every answer checked by somebody else."""
