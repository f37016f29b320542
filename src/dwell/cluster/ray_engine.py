"""Ray, as dwell uses it: imported late, started on loopback, joined with a token, and told in our own words."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from dwell.errors import ClusterError, ConfigError, MissingDependencyError
from dwell.storage import shown_place

__all__ = ["answers", "check_resources", "imported", "joined", "namespace_of", "prepare_environment", "started"]

# A shard sends handles, sums and masses: kilobytes. Ray's own default is a third of the machine's memory.
OBJECT_STORE_BYTES: Final = 100_000_000
_LEAST_OBJECT_STORE_BYTES: Final = 78_643_200  # below it Ray does not start
_TOKEN: Final = Path(".ray") / "auth_token"  # where every Ray process of a user looks for it
_ANSWERS_WITHIN_S: Final = 3.0  # a connection across data centres takes a tenth of it
_TOKEN_VARIABLES: Final = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
# Ray asks for the address of this host's first interface, unless it believes that this system has no clusters
_ON_LOOPBACK: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def imported() -> ModuleType:
    """Return the module ray.

    Raises:
        MissingDependencyError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody: it reads this when imported
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise MissingDependencyError("a cluster needs ray", hint="pip install 'dwell[ray]'") from error


def namespace_of(where: str, tenant: str) -> str:
    """Return the Ray namespace in which the shards of a store's tenant have their names: it holds no secret."""
    place = shown_place(where) if shown_place(where) != where else os.path.realpath(where)
    key = f"{place}\0{tenant}".encode("utf-8", "surrogatepass")
    return f"dwell-{hashlib.blake2b(key, digest_size=8).hexdigest()}"


def prepare_environment(*, is_loopback: bool) -> None:
    """Set what Ray reads from the environment, before its first process: only who has the token may join.

    Args:
        is_loopback: Whether every socket is to stand on 127.0.0.1; else other hosts can join.

    Raises:
        ClusterError: Ray was imported already, and would listen on other addresses than asked for.
    """
    if is_loopback and os.environ.get(_ON_LOOPBACK) != "0":
        if "ray" in sys.modules:
            raise ClusterError(
                "ray was imported before the cluster was started, and would listen on every address",
                code="ray_imported",
                hint=f"Set {_ON_LOOPBACK}=0 before ray is imported, or start the cluster in a process of its own.",
            )
        os.environ[_ON_LOOPBACK] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if os.environ.setdefault("RAY_AUTH_MODE", "token") != "token":
        return
    if not any(os.environ.get(name) for name in _TOKEN_VARIABLES):
        _make_token(Path.home() / _TOKEN)


def _make_token(path: Path) -> None:
    """Make the token's file, readable by its owner alone, where there is none: Ray's own is readable by everybody."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))


def check_resources(n_cpus: object, object_store_bytes: object) -> None:
    """Return where Ray can be started with these.

    Raises:
        ConfigError: A number is none, or too small.
    """
    for field, value, least in (
        ("n_cpus", n_cpus, 1),
        ("object_store_bytes", object_store_bytes, _LEAST_OBJECT_STORE_BYTES),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(
                f"{field} is a whole number of at least {least}", field=field, value=value, hint="Correct it."
            )


@contextlib.contextmanager
def started(
    *, n_cpus: int, object_store_bytes: int = OBJECT_STORE_BYTES, is_loopback: bool = True
) -> Iterator[tuple[Any, str]]:
    """Start Ray's first node, give the module and the node's address, and end it with all that runs on it.

    Args:
        n_cpus: Processors that actors may be given; a shard takes a small part of one.
        object_store_bytes: Shared memory for what travels.
        is_loopback: See `prepare_environment`.

    Raises:
        ClusterError: It did not start, or runs in this process already.
        ConfigError: A number is none, or too small.
        MissingDependencyError: Ray is not installed.
    """
    check_resources(n_cpus, object_store_bytes)
    prepare_environment(is_loopback=is_loopback)
    ray = imported()
    if ray.is_initialized():
        raise ClusterError("ray runs in this process already", code="ray_running", hint="Stop it, or join it.")
    folder = tempfile.mkdtemp(prefix="dwell-ray-")  # short: the path of a socket has at most 107 characters
    try:
        context = ray.init(
            address="local",
            num_cpus=n_cpus,
            object_store_memory=object_store_bytes,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _temp_dir=os.path.join(folder, "r"),  # noqa: PTH118 - Ray opens it to everybody: what is around it does not
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ClusterError(
            f"ray did not start: {_first_line(error)}", code="not_started",
            hint="Where TMPDIR is longer than about 50 characters its sockets find no place: give a shorter one.",
        ) from error  # fmt: skip
    _quieten(ray)
    try:
        yield ray, str(context.address_info["gcs_address"])
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _quieten(ray: ModuleType) -> None:
    """Keep Ray from printing to this program's standard output, which is a document's: a lost shard is told by us."""
    worker: Any = getattr(ray._private, "worker", None)  # noqa: SLF001 - `log_to_driver` leaves its own messages on
    if hasattr(worker, "_worker_logs_enabled"):
        worker._worker_logs_enabled = False  # noqa: SLF001 - as above


def answers(address: str) -> bool:
    """Return whether somebody listens at host:port; it need not be Ray."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_WITHIN_S).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _prepare_to_join(address: str) -> None:
    """Set what Ray reads from the environment before it is imported to join others."""
    if address.startswith(("127.", "localhost:", "[::1]")):
        os.environ.setdefault(_ON_LOOPBACK, "0")
    is_told = any(os.environ.get(name) for name in _TOKEN_VARIABLES)
    if is_told or (Path.home() / _TOKEN).exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    # a second each; with the wrong token all of them fail, and its C++ part prints a line for each
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "5")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")


@contextlib.contextmanager
def joined(address: str) -> Iterator[Any]:
    """Give the module ray, connected to a cluster: that of this process where it has one, else a connection of ours.

    Args:
        address: host:port of its first node.

    Raises:
        ClusterError: code `unreachable`: nobody answers there, or the token is not theirs.
        MissingDependencyError: Ray is not installed.
    """
    _prepare_to_join(address)
    ray = imported()
    if not answers(address):
        raise ClusterError(
            f"nobody answers at {address}", code="unreachable",
            hint="Check that `dwell cluster up` runs, and the address.",
        )  # fmt: skip
    if ray.is_initialized():
        known = ray.get_runtime_context().gcs_address
        if known != address:
            raise ClusterError(
                "this process is connected to another cluster", code="ray_running", field="address", value=address,
                hint=f"It is connected to {known}: leave that first.",
            )  # fmt: skip
        yield ray
        return
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(
            f"no ray cluster can be joined at {address}: {_first_line(error)}",
            code="unreachable",
            hint="Check that `dwell cluster up` runs, its address, and that both have the same token (RAY_AUTH_TOKEN).",
        ) from error
    _quieten(ray)
    try:
        yield ray
    finally:
        ray.shutdown()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")
