"""The daemon: puts its parts together, runs them, and ends without disturbing a worker."""

import contextlib
import os
import resource
import signal
import socket
from collections.abc import Iterator
from functools import partial

import trio

from vtpmd import __version__
from vtpmd.admin import metrics_port
from vtpmd.admin.routes import Routes
from vtpmd.admin.server import Server
from vtpmd.config.loader import ConfigurationError
from vtpmd.config.schema import Configuration
from vtpmd.linux import merging, sockets
from vtpmd.linux.hardening import forbid_core_files, forbid_tracing
from vtpmd.linux.notify import notify, watchdog_interval
from vtpmd.operations.metrics import metrics
from vtpmd.storage.files import open_directory, storage_error
from vtpmd.supervisor.anchors import Anchors
from vtpmd.supervisor.authority import Authority
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.identities import Identities
from vtpmd.supervisor.keeper import Keeper
from vtpmd.supervisor.keys import Keys
from vtpmd.supervisor.models import UnknownModelError, demand_known
from vtpmd.supervisor.registry import Registry
from vtpmd.supervisor.rounds import go_round
from vtpmd.supervisor.watch import watch
from vtpmd.supervisor.zygote import SpawnError, Zygote
from vtpmd.telemetry.audit import Audit
from vtpmd.telemetry.log import get_logger

ADMIN_SOCKET_MODE = 0o666  # everybody may connect, and is told why when it is not for them
DESCRIPTORS = 65536  # as the systemd unit has it

log = get_logger("daemon")


def key_providers(configuration: Configuration, audit: Audit) -> Keys:
    """The configured key providers."""
    state = configuration.state_dir
    providers = {each.name: each.open(state) for each in configuration.key_providers}
    default = configuration.provider_for_new_instances
    return Keys(providers, default, configuration.recovery_provider, audit)


def run(configuration: Configuration) -> None:
    """Run until SIGTERM or SIGINT; workers are left serving.

    Raises InUseError, StorageError, OSError and ConfigurationError before anything was started.
    """
    forbid_core_files()  # keys pass through us and our children
    forbid_tracing()
    _raise_limit_of_descriptors()
    _check_merging(configuration)
    audit = Audit(configuration.audit.file)
    keys = key_providers(configuration, audit)
    _make_runtime_directories(configuration)
    registry = Registry(configuration.state_dir)
    audit.check()
    try:
        zygote = Zygote(merge_memory=configuration.memory_merge == "on")
        try:
            trio.run(_serve, configuration, audit, keys, registry, zygote)
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
            directory.mkdir(mode=mode, parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(f"create {directory}", error) from None
        os.close(open_directory(directory))


async def _check_defaults(configuration: Configuration, zygote: Zygote) -> None:
    """Raise ConfigurationError if no TPM can be made as the configuration's defaults say."""
    defaults = configuration.defaults
    try:
        demand_known(await zygote.models(), defaults.profile, defaults.pcr_banks)
    except UnknownModelError as error:
        raise ConfigurationError([f"defaults: {error}"]) from None
    except SpawnError as error:
        log.error("zygote-failed", reason=str(error))  # workers that live are adopted all the same


async def _serve(
    configuration: Configuration, audit: Audit, keys: Keys, registry: Registry, zygote: Zygote
) -> None:
    async with contextlib.aclosing(keys):
        await _check_defaults(configuration, zygote)
        entries = registry.load()
        if not entries:
            await keys.initialise()
        with (
            contextlib.closing(Anchors(configuration, registry)) as anchors,
            _admin_listener(configuration) as listener,
        ):
            async with trio.open_nursery() as nursery:
                await nursery.start(_end_on_signal, nursery.cancel_scope)
                identities = Identities(
                    configuration.identity,
                    registry.state_fd,
                    Authority(registry.state_fd, keys, audit),
                    audit,
                )
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
                nursery.start_soon(go_round, fleet)
                nursery.start_soon(_keep_watchdog_quiet)
                nursery.start_soon(watch, fleet)
                if (port := configuration.metrics.port) is not None:
                    port_listener = await metrics_port.listen(port)
                    nursery.start_soon(metrics_port.serve, port_listener, partial(metrics, fleet))
                routes = Routes(fleet, audit, configuration.audit.reads)
                server = Server(routes, configuration.admin.group, audit)
                notify(f"READY=1\nSTATUS=Serving {len(entries)} virtual TPMs")
                log.info(
                    "ready",
                    version=__version__,
                    admin_socket=str(configuration.admin_socket),
                    state_dir=str(configuration.state_dir),
                    instances=len(entries),
                )
                await server.serve(listener)


@contextlib.contextmanager
def _admin_listener(configuration: Configuration) -> Iterator[socket.socket]:
    path = configuration.admin_socket
    with sockets.listen(path, mode=ADMIN_SOCKET_MODE) as listener:
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


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


async def _keep_watchdog_quiet() -> None:
    interval = watchdog_interval()
    while interval is not None:
        notify("WATCHDOG=1")
        await trio.sleep(interval)
