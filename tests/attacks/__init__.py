"""What was once done to the walls by a guest, a worker that was taken over, or a neighbour.

Each attempt lives on as a test.
"""
