"""vtpmctl's verbs, one module each, loaded when called."""
