from tests.worker.conftest import host, zygote

__all__ = ["host", "zygote"]
