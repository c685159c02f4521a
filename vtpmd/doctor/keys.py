"""Whether the key providers can be used, and for how long."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from vtpmd.api.schema import Finding
from vtpmd.encoding.moment import moment
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.keys import Keys
from vtpmd.supervisor.survey import Surveyed, survey

from .finding import Check, Found, bad, examine, ok, warning

SOON: Final = timedelta(days=30)
"""What ends within that is told."""


class Holder(NamedTuple):
    """A key provider: why it cannot wrap a key now, and whether anybody needs it."""

    name: str
    type: str
    fault: str | None
    needed: bool
    description: Mapping[str, Any]


class Holders(NamedTuple):
    """The configured key providers, and who has keys at each `missing` one."""

    configured: Sequence[Holder]
    missing: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, surveyed: Sequence[Surveyed], users: Mapping[str, Sequence[str]]) -> "Holders":
        """`users`: the names of the instances that have their key at each provider."""
        configured = [
            Holder(
                state.provider.name,
                state.provider.type,
                state.fault,
                state.is_default or state.provider.name in users,
                description,
            )
            for state, description in surveyed
        ]
        missing = {name: users[name] for name in sorted(set(users) - {"", *_names(configured)})}
        return cls(configured, missing)


def _names(holders: Sequence[Holder]) -> list[str]:
    return [each.name for each in holders]


def _providers(holders: Holders) -> Iterator[Found]:
    if not holders.configured:
        yield bad("no key provider is configured: no TPM can be made", "add one to key_providers")
    for each in holders.configured:
        name = f"{each.name} (type {each.type})"
        if each.fault is None:
            yield ok(f"{name} wraps keys")
        else:
            how = bad if each.needed else warning
            yield how(
                f"{name} cannot wrap keys: {each.fault}",
                "mend what the reason says; `vtpmctl provider list` tries again",
            )
    for name, instances in holders.missing.items():
        yield bad(
            f"{name} is not configured, but holds the keys of {', '.join(instances)}",
            "put it back into key_providers",
        )


def _backups(holders: Holders) -> Iterator[Found]:
    for each in holders.configured:
        versions = [kek for kek in each.description.get("versions", ()) if isinstance(kek, dict)]
        kept = [kek for kek in versions if "saved" in kek]
        if unsaved := [str(kek.get("id")) for kek in kept if not kek["saved"]]:
            yield warning(
                f"KEK {', '.join(unsaved)} of {each.name} is nowhere but on this host: without it "
                "no TPM under it can ever be opened again",
                f"`vtpmctl provider backup {each.name} FILE`, and keep FILE elsewhere",
            )
        elif kept:
            yield ok(f"every KEK of {each.name} has been saved")


def _certificates(holders: Holders) -> Iterator[Found]:
    for each in holders.configured:
        end = each.description.get("certificate_expires")
        if isinstance(end, str):
            what = f"the client certificate for {each.name}"
            yield ends(what, moment(end), "put a new one in its place")


async def judge(keys: Keys, users: Iterable[Instance]) -> list[Finding]:
    """What can be said of all key providers, and of those that these instances need."""
    needed: defaultdict[str, list[str]] = defaultdict(list)
    for instance in users:
        needed[instance.metadata.provider].append(instance.metadata.name)
    return examine(CHECKS, Holders.of(await survey(keys), needed))


def ends(what: str, end: datetime, remedy: str) -> Found:
    """What is to be said of something that ends then."""
    if end.year == datetime.max.year:  # how a certificate says so (RFC 5280, 4.1.2.5)
        return ok(f"{what} does not end")
    left = end - datetime.now(UTC)
    if left <= timedelta(0):
        return bad(f"{what} ended on {end:%Y-%m-%d}", remedy)
    text = f"{what} ends on {end:%Y-%m-%d}"
    return warning(f"{text}, in {left.days} days", remedy) if left < SOON else ok(text)


CHECKS: Final = (
    Check("key providers", _providers),
    Check("backup of keys", _backups),
    Check("certificates for key providers", _certificates),
)
