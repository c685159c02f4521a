"""Every order that a worker may be given has an answer."""

import pytest

from tests.compat.samples import MESSAGES
from tests.worker.harness import Host
from vtpmd.ipc.messages import RULES, Message, Side, State
from vtpmd.worker import orders


def orders_in(state: State) -> list[Message]:
    """A sample of each order that is permitted in a state."""
    return [
        message
        for message in MESSAGES.values()
        if RULES[type(message)].sender is Side.SUPERVISOR and state in RULES[type(message)].states
    ]


@pytest.mark.parametrize("order", orders_in(State.SERVING), ids=lambda order: type(order).__name__)
def test_a_worker_that_serves_answers(host: Host, order: Message) -> None:
    answer = host.serve().ask(order, object)
    assert RULES[type(answer)].sender is Side.WORKER


@pytest.mark.parametrize("order", orders_in(State.NEW), ids=lambda order: type(order).__name__)
def test_a_worker_that_is_spawned_for_it_carries_it_out(order: Message) -> None:
    """What it lacks here are its descriptors; one without a case would be NotImplementedError."""
    if RULES[type(order)].then is State.ORDERED:
        with pytest.raises(TypeError, match="required positional argument"):
            orders.carry_out(order, [])
