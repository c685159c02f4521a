"""What was once done to a worker by those who may talk to it: each attempt lives on as a test."""
