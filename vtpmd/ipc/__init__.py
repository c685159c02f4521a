"""Messages between the supervisor, the zygote and the workers."""
