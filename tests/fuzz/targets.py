"""What is fuzzed: one function for each way in. Whatever is wrong is an AssertionError."""

from collections.abc import Callable

from tests.fuzz import administration, engine, evidence, spoken, stored

TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for module in (engine, stored, spoken, administration, evidence)
    for target in module.TARGETS
}
