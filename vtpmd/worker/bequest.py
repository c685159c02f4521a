"""What a worker leaves behind should it crash: QEMU's connections, and what QEMU waits for."""

import contextlib
import os
import socket

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import Bequeath
from vtpmd.swtpm.host import ChannelSettings, Connection
from vtpmd.tpm.engine import RC, refusal

from .clients import Clients
from .control_client import ControlClient
from .data_client import DataClient
from .inheritance import Inheritance
from .ownership import Ownership
from .progress import Progress, Step, nowhere

_Pair = tuple[ControlClient, DataClient]
_BROKEN = (ChannelClosedError, IllegalMessageError, OSError)


class Bequest:
    """A part of the loop: leaves with the keeper whatever QEMU is connected by now.

    Without a keeper there is nobody to leave it with.
    """

    def __init__(self, clients: Clients, ownership: Ownership, settings: ChannelSettings) -> None:
        self._clients = clients
        self._ownership = ownership
        self._settings = settings
        self._channel: Channel | None = None
        self._progress: Progress | None = None
        self._noted: _Pair | None = None  # whose progress is noted
        self._left: _Pair | None = None  # as the keeper knows it, if it is `_told`
        self._told = False
        self.deadline: float | None = None

    def use(self, channel: Channel, progress: int) -> None:
        """Leave it on this channel, and note progress in this file, which is ours now."""
        try:
            noted = Progress(progress)
        except (OSError, ValueError):
            return
        finally:
            os.close(progress)
        noted.begin()
        self._move(None)
        self._channel, self._progress, self._told = channel, noted, False

    def lose(self) -> None:
        """There is no keeper any more, or none that shall have it."""
        self.revoke()
        self._channel = None

    def revoke(self) -> None:
        """Nothing is left: this worker ends in order."""
        if self._channel is not None and self._left is not None:
            self._tell(None)

    def inherit(self, left: Inheritance) -> None:
        """Go on with what a worker that crashed has left. The TPM is off."""
        self._settings.locality = left.progress.locality
        connection = Connection(attached=True)
        control = self._clients.add_control(left.control, self._ownership, connection)
        if left.data is None:
            return
        data = self._clients.add_descriptor(left.data, connection)
        self._ownership.inherit(control, data)
        self._progress = progress = left.progress
        self._noted = control, data
        control.progress, control.step, data.step = progress, progress.control, progress.data
        if left.owes_data:
            data.send(refusal(RC.FAILURE))
        if left.owes_control:
            control.step[0] = Step.REPEATING
            if not control.repeat(progress.request, again=left.again):
                with contextlib.suppress(OSError):  # so that QEMU does not wait for ever
                    control.socket.shutdown(socket.SHUT_RDWR)
        for client in (control, data):
            self._clients.tend(client)

    def tick(self, _now: float) -> None:
        """Leave what is not left yet, and note where nobody would tell again."""
        pair = self._ownership.pair
        if self._progress is not None and self._noted != pair:
            self._move(pair)
        if self._channel is not None and not (self._told and self._left == pair):
            self._tell(pair)
        if self._progress is not None and self._progress.locality != self._settings.locality:
            self._progress.locality = self._settings.locality

    def _move(self, pair: _Pair | None) -> None:
        """Note the progress of these two from now on, and no longer that of others."""
        for control, data in filter(None, (self._noted, pair)):
            progress = self._progress if (control, data) == pair else None
            steps = control.step[0], data.step[0]
            control.progress = progress
            control.step = nowhere() if progress is None else progress.control
            data.step = nowhere() if progress is None else progress.data
            control.step[0], data.step[0] = steps
        self._noted = pair

    def _tell(self, pair: _Pair | None) -> None:
        assert self._channel is not None
        self._left, self._told = pair, True
        try:
            self._channel.set_blocking(False)
            self._channel.send(Bequeath(), [client.fileno() for client in pair or ()])
        except _BROKEN:  # the keeper is gone, or lags behind
            self._channel = None
