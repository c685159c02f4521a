from tests.supervisor.conftest import root

__all__ = ["root"]
