"""What users may have only so much of."""

from collections import Counter

from vtpmd.linux.peers import is_owner


class Quota:
    """A limited amount of something, which users take and give back.

    All users together may hold `total`, one user `each`. Whoever is neither root nor the daemon's
    user leaves `reserved` of the total to them.
    """

    def __init__(self, total: int, each: int, reserved: int = 0) -> None:
        self._total = total
        self._each = each
        self._reserved = reserved
        self._held: Counter[int] = Counter()
        self._sum = 0

    @property
    def held(self) -> int:
        """How much all users together hold."""
        return self._sum

    def take(self, user: int, amount: int = 1) -> bool:
        """Let the user hold so much more; nothing is taken, and False returned, beyond a limit."""
        total = self._total - (0 if is_owner(user) else self._reserved)
        if self._held[user] + amount > self._each or self._sum + amount > total:
            return False
        self._held[user] += amount
        self._sum += amount
        return True

    def give(self, user: int, amount: int = 1) -> None:
        """Take back what the user no longer needs."""
        self._sum -= amount
        self._held[user] -= amount
        if not self._held[user]:
            del self._held[user]
