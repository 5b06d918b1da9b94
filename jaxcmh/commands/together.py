"""Several processes of one command: how they meet, and how the end of one ends the others.

The process that was started keeps watch, and the work is done by a child of it: when another process dies, jax ends
the child in its own way, at once or after a minute, and what watches over it says in a line what happened.
"""

import atexit
import ipaddress
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from jaxcmh.commands import asked

MEMBER = "JAXCMH_MEMBER"  # in the environment of a child: how it finds the others
PATIENCE = 60.0  # seconds to wait for the others to come
GRACE = 3.0  # seconds for a child to say itself why it ends
LOST = 75  # exit code of a child to which another was lost
AGAIN = "start all of them again, and they go on after the last finished stage"


def place(coordinator: str | None, num_processes: int | None, process_id: int | None) -> tuple[str, int, int] | None:
    """The three options, if they are given, as they belong together.

    Raises:
        ValueError: one is missing or none of its kind.
    """
    given = {"--coordinator": coordinator, "--num-processes": num_processes, "--process-id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if missing or coordinator is None or num_processes is None or process_id is None:
        raise ValueError(f"{missing[0]}: expected with {', '.join(name for name in given if name not in missing)}")
    host, _, port = coordinator.rpartition(":")
    if not _is_host(host) or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        given_short = coordinator if len(coordinator) < 80 else coordinator[:80] + "..."
        raise ValueError(f"--coordinator: expected host:port, such as 10.0.0.1:7000 or [::1]:7000; got {given_short!r}")
    if process_id >= num_processes:
        raise ValueError(f"--process-id: expected 0 to {num_processes - 1}, as --num-processes says; got {process_id}")
    return coordinator, num_processes, process_id


def _is_host(host: str) -> bool:
    """Whether this is a name, an IPv4 address, or an IPv6 address in brackets."""
    try:
        if host.startswith("["):
            return host.endswith("]") and bool(ipaddress.IPv6Address(host[1:-1]))
        labels = host.encode("idna").decode().removesuffix(".").split(".")
        if labels[-1].isdecimal():
            return bool(ipaddress.IPv4Address(host))
    except ValueError:  # a UnicodeError too
        return False
    return all(re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?", label) for label in labels)


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    return host.strip("[]"), int(port)


# -- the process that keeps watch -------------------------------------------------------------------------------------


def watch(coordinator: str, count: int, number: int, options: Sequence[Any]) -> int:
    """Meet the other processes, have the work done by a child, and end it when another has ended.

    Args:
        coordinator: host:port, where process 0 is.
        count, number: of processes, and of this one.
        options: of the command, as far as they are to be the same in all processes.

    Returns:
        Exit code.

    Raises:
        ValueError: some processes did not come, came twice, or have other options.
    """
    from jaxcmh import store

    with ExitStack() as held:
        links, port = _met(coordinator, count, number, store.digest([], repr(options)), held)
        host = _address(coordinator)[0]
        told = {"address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}", "count": count, "number": number}
        child = subprocess.Popen(
            [sys.executable, "-m", "jaxcmh", *sys.argv[1:]],
            env=os.environ | {MEMBER: json.dumps(told)},
            stdin=subprocess.PIPE,  # closed by the end of this process, by which the child knows of it
            start_new_session=True,  # or both would answer an interrupt
        )
        held.callback(_end, child)
        ended = _ended(links, child)
        code = child.poll()
        if code == 0:
            _tell(links, "done")
            return 0
        if code == 2:  # it has said why
            _tell(links, f"ended {number}")
            return 2
        if ended is None:
            ended = _who(links) if code in (LOST, -signal.SIGABRT) else number
        _tell(links, "ended" if ended is None else f"ended {ended}")
        if ended == number:
            how = f"with exit code {code}" if code and code > 0 else f"by signal {-(code or 0)}"
            raise ValueError(f"the work of process {number} of {count} ended {how}; {AGAIN}")
        which = "another process" if ended is None else f"process {ended}"
        raise ValueError(
            f"{which} of {count} has ended, which says why unless it was killed, and this one with it; {AGAIN}"
        )


def _met(coordinator: str, count: int, number: int, options: str, held: ExitStack) -> tuple[dict, int]:
    """Connections to the other processes, of those that are not process 0 to it alone; and a port for jax."""
    limit = time.monotonic() + PATIENCE
    if number:
        link = _connected(coordinator, limit)
        held.callback(link.close)
        _send(link, json.dumps({"number": number, "count": count, "options": options}))
        answer = _line(link, limit + GRACE)
        if not answer:
            raise ValueError(
                f"--coordinator: process 0 at {coordinator} has ended, or the others did not come, or some came twice"
            )
        said = _fields(answer)
        if isinstance(said.get("refused"), str):
            raise ValueError(said["refused"])
        if type(said.get("port")) is not int or not 0 < said["port"] < 65536:
            raise ValueError(f"--coordinator: who answers at {coordinator} is no jaxcmh that trains")
        return {0: link}, said["port"]
    listener = _listening(coordinator)
    held.callback(listener.close)
    links: dict[int, socket.socket] = {}
    while len(links) < count - 1:
        listener.settimeout(max(limit - time.monotonic(), 1e-3))
        try:
            link, _ = listener.accept()
        except TimeoutError:
            there = ", ".join(map(str, sorted([0, *links])))
            raise ValueError(
                f"--num-processes: expected {count} processes at {coordinator} within {PATIENCE:.0f} s; got {there}"
            ) from None
        held.callback(link.close)
        said = _fields(_line(link, time.monotonic() + GRACE))
        other = said.get("number")
        if type(other) is not int or not {"count", "options"} <= set(said):
            continue  # somebody else
        why = (
            f"--num-processes: process 0 was told {count}; got {said['count']}"
            if said["count"] != count
            else f"--process-id: there is a process {other} already"
            if other in links or not 0 < other < count
            else f"--process-id: process {other} has other options, or another version, than process 0"
            if said["options"] != options
            else None
        )
        if why:
            _send(link, json.dumps({"refused": why}))
            continue
        links[other] = _kept_alive(link)
    with socket.create_server((listener.getsockname()[0], 0), family=listener.family) as free:
        port = free.getsockname()[1]
    for link in links.values():
        _send(link, json.dumps({"port": port}))
    return links, port


def _listening(coordinator: str) -> socket.socket:
    host, port = _address(coordinator)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ValueError(f"--coordinator: process 0 cannot listen at {coordinator} ({error})") from None


def _connected(coordinator: str, limit: float) -> socket.socket:
    while True:
        try:
            return _kept_alive(socket.create_connection(_address(coordinator), timeout=5))
        except OSError as error:
            if time.monotonic() > limit:
                raise ValueError(
                    f"--coordinator: nobody answers at {coordinator} within {PATIENCE:.0f} s ({error}); is process 0 "
                    "started there?"
                ) from None
            time.sleep(0.2)


def _kept_alive(link: socket.socket) -> socket.socket:
    """A connection that fails within half a minute when the other machine is gone, or cut off."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return link


def _send(link: socket.socket, line: str) -> None:
    with suppress(OSError):  # who is gone is noticed elsewhere
        link.sendall(line.encode() + b"\n")


def _tell(links: Mapping[int, socket.socket], line: str) -> None:
    for link in links.values():
        _send(link, line)


def _line(link: socket.socket, limit: float) -> str:
    """A line; nothing if there comes none in time, or never will."""
    read = b""
    while not read.endswith(b"\n") and len(read) < 10_000:
        link.settimeout(max(limit - time.monotonic(), 1e-3))
        try:
            sign = link.recv(1)
        except OSError:
            return ""
        if not sign:
            return ""
        read += sign
    return read.decode(errors="replace")


def _fields(line: str) -> dict[str, Any]:
    """What a line says in JSON; nothing where it is of somebody else."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _end(child: subprocess.Popen) -> None:
    """End a child that has not ended, and give it time to put away what it has begun."""
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
    child.kill()
    child.wait()


def _ended(links: dict[int, socket.socket], child: subprocess.Popen) -> int | None:
    """Which process has ended before its time; None when the child has ended."""
    while child.poll() is None:
        if (ended := _heard(links, 0.2)) is not None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(GRACE)
            return ended
    return None


def _who(links: dict[int, socket.socket]) -> int | None:
    """Which process has ended, to which a child was lost: it is heard of at once."""
    limit = time.monotonic() + GRACE
    while time.monotonic() < limit:
        if (ended := _heard(links, 0.2)) is not None:
            return ended
    return None


def _heard(links: dict[int, socket.socket], seconds: float) -> int | None:
    """Which process has ended, as far as one hears of it; those that are done are forgotten."""
    if not links:
        time.sleep(seconds)
        return None
    ready, _, _ = select.select(links.values(), [], [], seconds)
    for number, link in list(links.items()):
        if link in ready:
            said = _line(link, time.monotonic() + GRACE).split()
            if said[:1] == ["done"]:
                del links[number]
            else:
                return int(said[1]) if len(said) == 2 and said[1].isdecimal() else number
    return None


# -- the child that works ---------------------------------------------------------------------------------------------


def is_member() -> bool:
    """Whether this process is a child of one that keeps watch."""
    return MEMBER in os.environ


@contextmanager
def joined() -> Iterator[tuple[int, ExitStack]]:
    """Join the other processes, before jax is started, and wait for them in the end.

    Gives the number of this one, and a stack of what to do when all have done all.
    What jax and gloo write themselves goes to nobody, unless a traceback is asked for.
    """
    told = json.loads(os.environ[MEMBER])
    threading.Thread(target=_end_with_the_watch, args=(sys.stdin.fileno(),), daemon=True).start()
    if not os.environ.get("JAXCMH_TRACEBACK"):
        sys.stdout.flush()
        sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", buffering=1) for n in (1, 2))
        for n in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), n)
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # or SIGTERM would be jax's, and nothing be put away
    jax.distributed.initialize(
        told["address"],
        told["count"],
        told["number"],
        cluster_detection_method="deactivate",
        coordinator_bind_address=told["address"],
        initialization_timeout=int(PATIENCE),
        heartbeat_timeout_seconds=45,  # of a process that neither ends nor goes on
        shutdown_timeout_seconds=10**7,  # process 0 evaluates alone, and the others wait
    )
    after = ExitStack()
    try:
        yield told["number"], after
    except BaseException as error:
        # Another process is gone, or who keeps watch says that it was interrupted: nothing is to be said of it here.
        if "Gloo" in str(error) or isinstance(error, KeyboardInterrupt):
            os._exit(LOST)
        # In the end jax would wait for the others, which wait for this one.
        atexit.register(os._exit, 2)
        raise
    jax.distributed.shutdown()
    after.close()


def shared(make: Callable[[], Any]) -> Any:
    """What process 0 makes, as JSON, in all processes."""
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    from jaxcmh import store

    text = json.dumps(store.plain(make())).encode() if jax.process_index() == 0 else b""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    return json.loads(bytes(multihost_utils.broadcast_one_to_all(np.frombuffer(text.ljust(size), np.uint8))))


def agree(split: Any, method: str, mesh: Any) -> None:
    """Refuse what is not the same in all processes: the data that each learns from, and a method of one's own.

    Of the views, a process reads its own rows and a few of all; process 0 reads all, and has the others' rows too.

    Args:
        split: the data set.
        method: as it was asked for.
        mesh: devices of all processes.

    Raises:
        ValueError: some have others than process 0; the message names them.
    """
    import jax
    import numpy as np

    from jaxcmh import store
    from jaxcmh.learning.processes import of_each, share

    views, labels, source = split.train.views, split.train.labels, _number(asked.source(method) or "0")
    n, known = len(labels), store.digest([("", labels)], str([(x.shape, str(x.dtype)) for x in views]))
    some = np.unique(np.linspace(0, n - 1, 100).astype(int))

    def digest(process: int) -> int:
        mine = share(n, mesh, process)
        rows = (part for x in views for part in (x[some], *store.parts(x, mine)))
        return _number(store.digest((("", part) for own in rows for part in _numbers(own)), known))

    number, count = jax.process_index(), jax.process_count()
    digests = [digest(process) for process in ([number] if number else range(count))]
    for what, own, wanted in ((method, source, [source] * count), ("--data", digests[0], digests)):
        if others := np.flatnonzero(of_each(own, mesh) != shared(partial(list, wanted))).tolist():
            raise ValueError(
                f"{what}: expected the same in all processes; other than in process 0 in {str(others)[1:-1]}"
            )


def _numbers(rows: Any) -> list[Any]:
    """What rows of a view are stored as."""
    return [rows.data, rows.indices, rows.indptr] if hasattr(rows, "indptr") else [rows]


def _number(digest: str) -> int:
    """What tells digests apart and a float64 holds."""
    return int(digest[:12], 16)


def _end_with_the_watch(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os._exit(LOST)
