"""Every order that a worker may be given has an answer."""

import os
from contextlib import ExitStack

import pytest

from tests.compat.samples import MESSAGES
from tests.worker.harness import Host
from vtpmd.ipc.messages import Message, NotUnwrapped, Unwrapped
from vtpmd.ipc.rules import RULES, Side, State
from vtpmd.worker.orders import ORDERS


def orders_in(state: State) -> list[Message]:
    """A sample of each order that is permitted in a state."""
    return [
        message
        for message in MESSAGES.values()
        if RULES[type(message)].sender is Side.SUPERVISOR
        and state in RULES[type(message)].states
        and not isinstance(message, Unwrapped | NotUnwrapped)  # answers themselves
    ]


@pytest.mark.parametrize("order", orders_in(State.SERVING), ids=lambda order: type(order).__name__)
def test_a_worker_that_serves_answers(host: Host, order: Message) -> None:
    with ExitStack() as opened:
        fds = [os.memfd_create("any") for _ in range(RULES[type(order)].fds[0])]
        for fd in fds:
            opened.callback(os.close, fd)
        answer = host.serve().ask(order, object, fds)
    assert RULES[type(answer)].sender is Side.WORKER


def test_a_worker_that_is_spawned_for_it_carries_it_out() -> None:
    ordered = {
        order
        for order, rule in RULES.items()
        if rule.then is State.ORDERED and State.NEW in rule.states
    }
    assert set(ORDERS) == ordered
