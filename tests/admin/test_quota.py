"""What users may hold: limits for each, for all, and a part kept for root."""

import os

from vtpmd.admin.quota import Quota

A, B, C = 54321, 54322, 54323


def test_each_user_has_a_limit() -> None:
    quota = Quota(total=100, each=10)
    assert quota.take(A, 10)
    assert not quota.take(A)
    assert quota.take(B)
    quota.give(A, 3)
    assert not quota.take(A, 4)
    assert quota.take(A, 3)
    assert quota.held == 11


def test_all_users_together_leave_the_reserve_to_root() -> None:
    quota = Quota(total=30, each=20, reserved=10)
    assert quota.take(A, 15)
    assert quota.take(B, 5)
    assert not quota.take(C)
    assert quota.take(0, 9)
    assert quota.take(os.geteuid(), 1)
    assert not quota.take(0)
    quota.give(B, 5)
    assert not quota.take(C)  # root holds what was reserved and no more
    for user, amount in ((0, 9), (os.geteuid(), 1), (A, 15)):
        quota.give(user, amount)
    assert quota.held == 0
