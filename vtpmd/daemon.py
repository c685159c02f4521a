"""The daemon: puts its parts together, runs them, and ends without disturbing a worker."""

import contextlib
import gc
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import trio

from vtpmd import __version__
from vtpmd.admin import metrics_port
from vtpmd.admin.routes import Routes
from vtpmd.admin.server import Server
from vtpmd.api.names import BAD, WARNING
from vtpmd.api.schema import Finding
from vtpmd.config.loader import ConfigurationError
from vtpmd.config.schema import Configuration
from vtpmd.doctor import keys as key_checks
from vtpmd.doctor import places
from vtpmd.doctor.finding import examine
from vtpmd.linux import merging, sockets
from vtpmd.linux.hardening import forbid_core_files, forbid_tracing
from vtpmd.linux.notify import notify, notify_reloading, watchdog_interval
from vtpmd.operations.metrics import metrics
from vtpmd.storage.files import open_directory, storage_error
from vtpmd.supervisor.anchors import Anchors
from vtpmd.supervisor.authority import Authority
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.identities import Identities
from vtpmd.supervisor.keeper import Keeper
from vtpmd.supervisor.keys import Keys
from vtpmd.supervisor.models import unknown_models
from vtpmd.supervisor.registry import Registry
from vtpmd.supervisor.reload import take_over
from vtpmd.supervisor.rounds import go_round
from vtpmd.supervisor.survey import configured
from vtpmd.supervisor.watch import watch
from vtpmd.supervisor.zygote import SpawnError, Zygote
from vtpmd.telemetry.audit import Audit
from vtpmd.telemetry.log import configure, get_logger

DESCRIPTORS = 65536  # as the systemd unit has it

log = get_logger("daemon")


class UnfitError(Exception):
    """The host does not let the daemon do its work; `problems` has one line for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def run(configuration: Configuration, read: Callable[[], Configuration]) -> None:
    """Run until SIGTERM or SIGINT; workers are left serving. SIGHUP has the configuration `read`.

    Raises InUseError, StorageError, OSError, UnfitError and ConfigurationError before anything was
    started.
    """
    forbid_core_files()  # keys pass through us and our children
    forbid_tracing()
    _raise_limit_of_descriptors()
    _check_merging(configuration)
    audit = Audit(configuration.audit.file)
    keys = configured(configuration, audit)
    _make_runtime_directories(configuration)
    registry = Registry(configuration.state_dir)
    audit.check()
    try:
        zygote = Zygote(merge_memory=configuration.memory_merge == "on")
        try:
            trio.run(_serve, configuration, read, audit, keys, registry, zygote)
        finally:
            zygote.close()
    finally:
        registry.close()


def _raise_limit_of_descriptors() -> None:
    """Each instance needs several; shells and containers often permit only 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _check_merging(configuration: Configuration) -> None:
    """Raise ConfigurationError if the kernel cannot merge memory as it is configured."""
    if configuration.memory_merge == "off":
        return
    try:
        merging.demand()
    except OSError as error:
        raise ConfigurationError([f"memory_merge: {error.strerror}"]) from None
    if not merging.goes_on():
        log.warning("memory-not-merged", reason="nobody has switched it on: /sys/kernel/mm/ksm/run")


def _make_runtime_directories(configuration: Configuration) -> None:
    """Whoever else could write to them could take the place of the daemon or of a worker."""
    for directory, mode in ((configuration.runtime_dir, 0o755), (configuration.workers_dir, 0o700)):
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                directory.mkdir(mode=mode)
                directory.chmod(mode)  # whatever the umask is: QEMU has to reach the sockets
        except OSError as error:
            raise storage_error(f"create {directory}", error) from None
        os.close(open_directory(directory))


async def _check_defaults(configuration: Configuration, zygote: Zygote) -> None:
    """Raise ConfigurationError if no TPM can be made as the configuration's defaults say."""
    defaults = configuration.defaults
    try:
        models = await zygote.models()
    except SpawnError as error:
        log.error("zygote-failed", reason=str(error))  # workers that live are adopted all the same
        return
    wrong = list(unknown_models(models, defaults.profile, defaults.pcr_banks))
    if wrong:
        raise ConfigurationError([f"defaults.{setting}: {reason}" for setting, reason in wrong])


async def _check_host(configuration: Configuration) -> None:
    """Log what may go wrong here. Raises UnfitError for what makes every start of a TPM fail."""
    findings = await trio.to_thread.run_sync(examine, places.CHECKS, configuration)
    refusing = {check.name for check in places.CHECKS if check.refuses}
    fatal = [each for each in findings if each.verdict == BAD and each.check in refusing]
    if fatal:
        raise UnfitError([f"{each.check}: {each.reason}: {each.remedy}" for each in fatal])
    _tell(findings)


def _tell(findings: Sequence[Finding]) -> None:
    """Log what may go wrong, and what does."""
    for each in findings:
        if each.verdict in (WARNING, BAD):
            level = log.error if each.verdict == BAD else log.warning
            level("unfit", check=each.check, reason=each.reason, remedy=each.remedy)


async def _tell_of_keys(fleet: Fleet) -> None:
    """The same of the key providers, which may take their time to answer."""
    try:
        findings = await key_checks.judge(fleet.host.keys, fleet)
    except Exception:  # a key provider may be a foreign package, and this is but advice
        log.exception("keys-not-judged")
        return
    _tell(findings)


async def _metrics_listener(port: int | None) -> trio.SocketListener | None:
    """Listen on the configured port. Raises ConfigurationError if that is not possible."""
    if port is None:
        return None
    try:
        return await metrics_port.listen(port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigurationError([f"metrics.port: {port}: {reason}"]) from None


async def _serve(
    configuration: Configuration,
    read: Callable[[], Configuration],
    audit: Audit,
    keys: Keys,
    registry: Registry,
    zygote: Zygote,
) -> None:
    async with contextlib.aclosing(keys):
        await _check_host(configuration)
        await _check_defaults(configuration, zygote)
        port = await _metrics_listener(configuration.metrics.port)
        entries = registry.load()
        if not entries:
            await keys.initialise()
        authority = Authority(registry.state_fd, keys, audit)
        with (
            contextlib.closing(Anchors(configuration, registry)) as anchors,
            contextlib.closing(
                Identities(configuration.identity, registry.state_fd, authority, audit)
            ) as identities,
            _admin_listener(configuration) as listener,
        ):
            async with trio.open_nursery() as nursery:
                await nursery.start(_end_on_signal, nursery.cancel_scope)
                keeper = Keeper(configuration, nursery)
                await keeper.connect()
                host = Host(
                    configuration,
                    registry,
                    keys,
                    identities,
                    zygote,
                    nursery,
                    anchors,
                    keeper,
                    keys.metrics,
                )
                fleet = Fleet(host)
                await fleet.open(entries)
                _spare_collector()
                nursery.start_soon(go_round, fleet)
                nursery.start_soon(_keep_watchdog_quiet)
                nursery.start_soon(watch, fleet)
                if port is not None:
                    nursery.start_soon(metrics_port.serve, port, partial(metrics, fleet))
                nursery.start_soon(_tell_of_keys, fleet)
                routes = Routes(fleet, audit, configuration.audit.reads)
                open_to_group = partial(_open_to_group, configuration.admin_socket)
                server = Server(routes, configuration.admin.group, audit, open_to_group)
                reload = partial(_reload, read, fleet, server, routes, audit)
                await nursery.start(_reload_on_signal, reload)
                await nursery.start(server.serve, listener)
                notify(f"READY=1\nSTATUS=Serving {len(entries)} virtual TPMs")
                log.info(
                    "ready",
                    version=__version__,
                    admin_socket=str(configuration.admin_socket),
                    state_dir=str(configuration.state_dir),
                    instances=len(entries),
                )


@contextlib.contextmanager
def _admin_listener(configuration: Configuration) -> Iterator[socket.socket]:
    path = configuration.admin_socket
    with sockets.listen(path, mode=0o600) as listener:
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _open_to_group(path: Path, group: int | None) -> None:
    """Let the kernel admit the members of a group, if any; everybody else it keeps away from us."""
    try:
        sockets.grant_anew(path, 0o600 if group is None else 0o660, None, group)
    except OSError as error:
        log.warning(
            "admin-group-kept-out",
            group=group,
            reason=f"{path} can't be shared with it: {error.strerror}; "
            "SupplementaryGroups= of the service, with that group, needs no sharing",
        )


async def _end_on_signal(
    scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            log.info("ending", signal=signal.Signals(number).name)
            notify("STOPPING=1")
            scope.cancel()
            return


async def _reload_on_signal(
    reload: Callable[[], Awaitable[str]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            notify_reloading()
            status = await reload()
            notify(f"READY=1\nSTATUS={status}")


async def _reload(
    read: Callable[[], Configuration], fleet: Fleet, server: Server, routes: Routes, audit: Audit
) -> str:
    """Take over what can change of the configuration, and say what became of it."""
    before = fleet.host.configuration
    try:
        new = await trio.to_thread.run_sync(read)
        audit.follow(new.audit.file)
    except (ConfigurationError, OSError) as error:
        log.error("not-reloaded", reason=str(error), remedy="`vtpmd check-config`, then reload")
        return "The configuration has faults; it is as it was"
    configure(new.log.level, new.log.format)
    routes.record_reads(new.audit.reads)
    if new.admin.group != before.admin.group:
        await server.admission.follow(new.admin.group)
    later = await take_over(fleet, new)
    if later:
        log.warning("restart-needed", settings=later, remedy="systemctl restart vtpmd")
        return f"Reloaded, but for {', '.join(later)}: that takes a restart"
    log.info("reloaded")
    return "Reloaded"


def _spare_collector() -> None:
    """Let no collection look again at what is here by now, most of which lives as long as we.

    A full one held the loop up for 25 ms because of what is loaded, and for more with the instances
    of a large host.
    """
    gc.collect()
    gc.freeze()


async def _keep_watchdog_quiet() -> None:
    interval = watchdog_interval()
    while interval is not None:
        notify("WATCHDOG=1")
        await trio.sleep(interval)
