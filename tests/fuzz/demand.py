"""What has to hold of an error: the linter wants no assertions where one is caught."""


def demand(condition: bool) -> None:
    """Raise AssertionError unless the condition holds."""
    assert condition
