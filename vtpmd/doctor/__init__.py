"""What vtpmd needs, and what may go wrong: tables of checks, which are functions to findings."""
