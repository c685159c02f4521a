"""The long-running part: it knows every instance, and no byte a guest can send reaches it."""
