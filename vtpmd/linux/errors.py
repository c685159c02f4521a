"""What can go wrong with what processes of one host share."""


class InUseError(Exception):
    """Another process uses this directory or socket."""
