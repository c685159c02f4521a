"""Who may import whom: the rules as a table, the imports read from the source.

`DIRECT` rules look at a package's own import statements; `REACH` rules also at everything that is
imported in turn when a module of the package is imported, which catches the long way round.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STDLIB = frozenset(sys.stdlib_module_names)
IMPURE = (
    "os", "socket", "time", "random", "threading", "asyncio", "pathlib", "logging", "subprocess",
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """What the modules of `package` may import, besides the package itself.

    `only`: nothing of vtpmd but these. `never`: none of these, vtpmd or not. `third_party`: these
    and no other package from elsewhere (None: any).
    """

    package: str
    only: tuple[str, ...] | None = None
    never: tuple[str, ...] = ()
    third_party: tuple[str, ...] | None = None
    but: tuple[str, ...] = field(default=())  # modules of the package the rule is not for


TPM = "vtpmd.tpm"
PROVIDERS = tuple(
    f"vtpmd.kms.{path.name}"
    for path in sorted((ROOT / "vtpmd/kms").iterdir())
    if (path / "__init__.py").exists()
)
INSIDE_TPM = tuple(
    f"{TPM}.{path.stem}"
    for path in (ROOT / "vtpmd/tpm").iterdir()
    if path.suffix == ".py" or (path / "__init__.py").exists()
    if path.stem not in ("__init__", "engine")
)
DIRECT = [
    Rule(TPM, only=(TPM, "vtpmd.encoding"), never=IMPURE, third_party=(), but=(f"{TPM}.crypto",)),
    Rule(f"{TPM}.crypto", only=(f"{TPM}.rc", f"{TPM}.wire.constants"), never=IMPURE,
         third_party=("cryptography", "gmpy2")),
    Rule(f"{TPM}.rc", only=()),
    Rule(f"{TPM}.wire", only=(f"{TPM}.rc",)),
    Rule(f"{TPM}.core",
         only=(f"{TPM}.wire", f"{TPM}.crypto", f"{TPM}.rc", f"{TPM}.profile", f"{TPM}.state",
               f"{TPM}.snapshot")),  # saved contexts are encoded as the state is
    Rule(f"{TPM}.commands",
         only=(f"{TPM}.core", f"{TPM}.wire", f"{TPM}.crypto", f"{TPM}.command", f"{TPM}.rc",
               f"{TPM}.profile", f"{TPM}.state")),
    # The engine is all that others see of it.
    Rule("vtpmd", never=INSIDE_TPM, but=(TPM, "vtpmd.attest")),
    # Supervisor and worker in one process: from the supervisor's side only its listening sockets.
    Rule("vtpmd.standalone", third_party=(),
         only=("vtpmd.api.text", "vtpmd.ipc.messages", "vtpmd.kms", "vtpmd.storage", "vtpmd.swtpm",
               "vtpmd.telemetry", "vtpmd.linux", f"{TPM}.engine", "vtpmd.worker")),
    # The ground floors: what programs share, and what everybody asks of the kernel.
    Rule("vtpmd.api", only=(), third_party=()),
    Rule("vtpmd.client", only=("vtpmd.api",), third_party=()),
    # On top of operations only; what they work on passes through unseen.
    Rule("vtpmd.admin", only=("vtpmd.api", "vtpmd.operations", "vtpmd.telemetry", "vtpmd.linux",
                              "vtpmd.config.schema"), third_party=("h11", "pydantic", "trio")),
    Rule("vtpmd.operations", never=("vtpmd.admin", "pydantic", "h11")),
    # Reads what others' TPMs say: structures and cryptography, and `rc` for the errors of both.
    Rule("vtpmd.attest", only=(f"{TPM}.wire", f"{TPM}.crypto", f"{TPM}.rc"),
         third_party=("cryptography", "re2")),
    # The keeper parses nothing, and asks for workers as the supervisor does.
    Rule("vtpmd.keeper", only=("vtpmd.ipc", "vtpmd.linux", "vtpmd.spawn"), third_party=()),
    Rule("vtpmd.spawn", only=("vtpmd.ipc", "vtpmd.linux"), third_party=()),
    Rule("vtpmd.pki", only=("vtpmd.storage",), third_party=("cryptography",)),
    Rule("vtpmd.supervisor", never=("pydantic", "h11")),
    Rule("vtpmd", never=("pydantic",), but=("vtpmd.admin.schema", "vtpmd.config", "vtpmd.kms")),
    Rule("vtpmd.linux", only=(), third_party=()),
    # The ground of all that is stored or sent.
    Rule("vtpmd.encoding", only=(), third_party=("cbor2",)),
    Rule("vtpmd.storage", only=("vtpmd.encoding",), third_party=("cbor2", "cryptography")),
    Rule("vtpmd.ipc", only=("vtpmd.encoding", "vtpmd.linux", "vtpmd.storage"), third_party=()),
    # Of key providers the configuration knows how to find types and how settings are declared.
    Rule("vtpmd.config", third_party=("pydantic", "yaml"),
         only=("vtpmd.kms.registry", "vtpmd.kms.settings", "vtpmd.telemetry")),
    # What every provider is made from knows none of them; the registry knows their names.
    *(Rule(f"vtpmd.kms.{module}", never=PROVIDERS)
      for module in ("provider", "settings", "errors", "contract")),
    Rule("vtpmd", never=("trio",),
         but=("vtpmd.daemon", "vtpmd.supervisor", "vtpmd.operations", "vtpmd.admin", "vtpmd.kms")),
    Rule("vtpmd", never=("yaml",), but=("vtpmd.config",)),
    Rule("vtpmd", never=("structlog", "logging", "prometheus_client"), but=("vtpmd.telemetry",)),
    Rule("vtpmd", never=("asyncio", "vtpmd.cli"), but=("vtpmd.cli",)),
]  # fmt: skip

VTPMCTL = (
    "vtpmd.cli.vtpmctl",
    "vtpmd.cli.verbs",
    "vtpmd.cli.access",
    "vtpmd.cli.completion",
    "vtpmd.cli.output",
    "vtpmd.cli.refreshing",
    "vtpmd.cli.files",
    "vtpmd.cli.several",
)
# What judges evidence, loaded when `vtpmctl verify` is called.
VERIFIER = ("vtpmd.cli.verbs.verify", "vtpmd.cli.verifying", "vtpmd.cli.activating",
            "vtpmd.cli.evidence")  # fmt: skip
REACH = [
    # Nothing points back up: admin, operations, supervisor.
    Rule("vtpmd.supervisor",
         never=(TPM, "vtpmd.worker", "vtpmd.operations", "vtpmd.admin", "vtpmd.cli")),
    Rule("vtpmd.operations", never=(TPM, "vtpmd.worker", "vtpmd.admin", "vtpmd.cli")),
    Rule("vtpmd.admin", never=(TPM, "vtpmd.worker", "vtpmd.cli")),
    Rule("vtpmd.worker", never=("vtpmd.kms", "vtpmd.pki", "vtpmd.attest", "vtpmd.admin",
                                "vtpmd.api", "vtpmd.config", "vtpmd.supervisor", "trio", "yaml",
                                "pydantic", "cryptography.x509")),
    Rule("vtpmd.kms", only=("vtpmd.api.text", "vtpmd.encoding", "vtpmd.linux.hardening",
                            "vtpmd.linux.kernel", "vtpmd.ipc.codec", "vtpmd.storage",
                            "vtpmd.telemetry")),
    # Its only threads are the worker's own: one of trio's would be outside of the sandbox.
    Rule("vtpmd.standalone", never=("vtpmd.config", "vtpmd.daemon", "trio", "yaml",
                                    "pydantic")),
    # The keeper outlives the daemon, and is as small as it can be.
    Rule("vtpmd.keeper", never=(TPM, "vtpmd.supervisor", "vtpmd.config", "trio", "pydantic")),
    Rule("vtpmd.spawn", never=(TPM, "vtpmd.supervisor", "vtpmd.config", "trio", "pydantic")),
    Rule("vtpmd.attest", never=(f"{TPM}.engine", f"{TPM}.core", f"{TPM}.commands", "trio",
                                "pydantic")),
    Rule("vtpmd.pki", never=(TPM, "vtpmd.worker", "vtpmd.supervisor", "trio")),
    Rule("vtpmd.doctor", never=("vtpmd.cli", "vtpmd.daemon", "vtpmd.admin")),
    Rule("vtpmd.telemetry", only=("vtpmd.api.text",),
         third_party=("structlog", "prometheus_client")),
    *(Rule(module, but=VERIFIER, third_party=("click", "rich"),
           only=("vtpmd.api", "vtpmd.client", *VTPMCTL))
      for module in VTPMCTL),
    *(Rule(module, third_party=("click", "cryptography", "gmpy2", "re2", "rich", "yaml"),
           only=("vtpmd.api", "vtpmd.client", "vtpmd.attest", "vtpmd.config.document",
                 f"{TPM}.wire",
                 f"{TPM}.crypto", f"{TPM}.rc", *VTPMCTL, *VERIFIER))
      for module in VERIFIER),
]  # fmt: skip

MUTUAL: set[frozenset[str]] = set()

# Rooms that have their rules before they have modules; a room leaves this list when it is there.
TO_COME: frozenset[str] = frozenset()

PATHS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "vtpmd").rglob("*.py")
}


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, anywhere in its source; names of modules as far as they are ones."""
    path = PATHS[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(_statements(ast.parse(path.read_text()), package))


def _statements(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                # `from package import module` and `from module import name` look the same.
                inner = f"{source}.{alias.name}"
                yield inner if inner in PATHS else source


@cache
def reach(module: str) -> frozenset[str]:
    """What importing a module imports in the end, by the source of vtpmd's modules."""
    seen: set[str] = set()
    pending = [module]
    while pending:
        for name in imports(pending.pop()) - seen:
            seen.add(name)
            if name in PATHS:
                pending.append(name)
    return frozenset(seen)


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def offences(rule: Rule, imported: frozenset[str]) -> set[str]:
    """Which of these imports the rule forbids."""
    bad = set()
    for name in imported:
        top = name.partition(".")[0]
        if top == "vtpmd":
            # Packages whose modules are reached are imported as well: empty, so they do not count.
            counted = name != "vtpmd" and not _is_plain_package(name)
            if rule.only is not None and counted and not within(name, (rule.package, *rule.only)):
                bad.add(name)
        elif rule.third_party is not None and top not in STDLIB and top not in rule.third_party:
            bad.add(name)
        if within(name, rule.never):
            bad.add(name)
    return bad


def _is_plain_package(name: str) -> bool:
    path = PATHS.get(name)
    return path is not None and path.name == "__init__.py" and not imports(name)


def _meaning(rule: Rule) -> str:
    if rule.package in TO_COME:
        return f"{rule.package} has modules now: take it off TO_COME"
    return f"no module of {rule.package}: the rule has lost its meaning"


def _governed(rule: Rule) -> list[str]:
    return [
        module
        for module in sorted(PATHS)
        if within(module, (rule.package,)) and not within(module, rule.but)
    ]


@pytest.mark.parametrize("rule", DIRECT, ids=lambda rule: f"{rule.package}-{rule.never[:1]}")
def test_imports_keep_to_the_layers(rule: Rule) -> None:
    modules = _governed(rule)
    assert bool(modules) is (rule.package not in TO_COME), _meaning(rule)
    found = {module: bad for module in modules if (bad := offences(rule, imports(module)))}
    assert found == {}


@pytest.mark.parametrize("rule", REACH, ids=lambda rule: rule.package)
def test_nothing_forbidden_is_reached_the_long_way_round(rule: Rule) -> None:
    modules = _governed(rule)
    assert bool(modules) is (rule.package not in TO_COME), _meaning(rule)
    found = {module: bad for module in modules if (bad := offences(rule, reach(module)))}
    assert found == {}


def test_no_two_rooms_need_each_other() -> None:
    """What a room reaches does not reach back, so that each can be read with those below it."""
    rooms = {name for name in map(_room, PATHS) if name is not None}
    reached = {
        room: {_room(name) for module in PATHS if _room(module) == room for name in reach(module)}
        for room in rooms
    }
    pairs = {
        frozenset({one, other})
        for one in rooms
        for other in rooms - {one}
        if other in reached[one] and one in reached[other]
    }
    assert pairs == MUTUAL


def _room(module: str) -> str | None:
    """The package right below vtpmd, if a name is of one."""
    parts = module.split(".")
    if parts[0] != "vtpmd" or len(parts) < 2 or f"vtpmd.{parts[1]}" not in PATHS:
        return None
    package = f"vtpmd.{parts[1]}"
    return package if PATHS[package].name == "__init__.py" else None


def test_no_commands_module_imports_another() -> None:
    package = f"{TPM}.commands"
    modules = [module for module in PATHS if module.startswith(f"{package}.")]
    others = {module: imports(module) & (set(modules) - {module}) for module in modules}
    assert {module: bad for module, bad in others.items() if bad} == {}


STANDING = {frozenset({"vtpmd.standalone.host", "vtpmd.standalone.run"})}
"""Circles that are still there; none may be added."""


def circles(reached: Mapping[str, frozenset[str]]) -> set[frozenset[str]]:
    """Modules that import each other in the end, wherever in their source they do."""
    return {
        frozenset(other for other in reached[module] if module in reached.get(other, ()))
        for module in reached
        if module in reached[module]
    }


def test_no_modules_import_each_other() -> None:
    assert circles({module: reach(module) for module in PATHS}) - STANDING == set()


def test_the_rules_would_notice() -> None:
    """The checks fail where they should: a rule that cannot be broken proves nothing."""
    assert {f"{TPM}.rc", f"{TPM}.core"} < set(INSIDE_TPM)
    standard = frozenset({"os.path", "ossify"})
    assert offences(Rule("vtpmd.x", never=("os",)), standard) == {"os.path"}
    ours = frozenset({"vtpmd.tpm.rc", "vtpmd.x.y"})
    assert offences(Rule("vtpmd.x", only=()), ours) == {"vtpmd.tpm.rc"}
    foreign = frozenset({"click", "attr", "re"})
    assert offences(Rule("vtpmd.x", third_party=("click",)), foreign) == {"attr"}
    assert "trio" in reach("vtpmd.daemon")
    assert "vtpmd.storage.sealed" in reach("vtpmd.worker.process")
    ring, line = frozenset({"a", "b", "c"}), frozenset({"a", "b"})
    assert circles({"a": line, "b": line, "c": frozenset("d"), "d": frozenset()}) == {line}
    assert circles({"a": ring, "b": ring, "c": ring, "d": ring}) == {ring}
    assert "vtpmd.supervisor.fleet" in reach("vtpmd.operations.create")
    assert "pydantic" in imports("vtpmd.admin.schema")
    assert _room("vtpmd.admin.routes") == "vtpmd.admin"
    assert _room("vtpmd.daemon") is _room("trio") is None
    assert within("vtpmd.tpm.rc", (TPM,))
    assert not within("vtpmd.tpmx", (TPM,))
