"""What clients sent and nobody wanted: counted for all, reported once for each connection."""

from .execution import Report


class Drops:
    """The counts of a worker. `octets`: on data channels; `descriptors`: on control channels."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.octets = 0
        self.descriptors = 0

    def of(self, client: str) -> "ClientDrops":
        """The part of one connection; `client` says whose it is."""
        return ClientDrops(self, self._report, client)


class ClientDrops:
    """Notes what one connection sent."""

    def __init__(self, total: Drops, report: Report, client: str) -> None:
        self._total = total
        self._report = report
        self._client = client
        self._told = False

    def octets(self, count: int) -> None:
        """Octets behind a command before its answer, or in no command."""
        self._total.octets += count
        if count and not self._told:
            self._told = True
            self._report(
                "octets-dropped",
                f"{self._client} sent {count} octets behind a TPM command before its answer, or in "
                "none; more from this connection is counted only",
            )

    def descriptors(self, count: int) -> None:
        """Descriptors that no control command asked for."""
        self._total.descriptors += count
        if count and not self._told:
            self._told = True
            self._report(
                "descriptors-refused",
                f"{self._client} sent {count} descriptors that no command asked for; more from "
                "this connection is counted only",
            )
