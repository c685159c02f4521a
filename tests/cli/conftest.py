from tests.supervisor.conftest import daemon, root

__all__ = ["daemon", "root"]
