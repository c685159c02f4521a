"""Man pages, from what `--help` shows, the configuration's schema and the sample configuration."""
