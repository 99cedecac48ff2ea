"""The Java process with ScienceWorld's simulator in it, and the one thread that talks to it.

Two simulators in one process corrupt each other, so each environment has a process of its own. It
is made deterministic by an option (by default Java draws the hash codes that order some listings),
starts at the first call, never sees a terminal's Ctrl-C, and is gone after `Jvm.close`, when its
owner is forgotten and when this process ends in whatever way: it reads its standard input, and
stops where that does. Closing kills it, which also ends a step that hangs; it holds nothing that
would have to be saved.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import shutil
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from armap_agents.errors import ConfigurationError, EnvironmentDied, EnvironmentFailure
from armap_agents.serving.cache import cache_folder
from armap_agents.tools.scienceworld.simulator import Simulator

T = TypeVar("T")

OPTIONS = (
    "-Xmx512m",
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",  # the same for every object; else listings come in another order each time
    "-XX:+UseSerialGC",  # the parallel collectors' threads take the cores from the step itself
)
"""What makes a process small and deterministic."""


def java() -> str:
    """Return the Java executable: that of ``$JAVA_HOME``, else the one on the path.

    Raises:
        ConfigurationError: There is none.
    """
    home = Path(os.environ.get("JAVA_HOME", "")) / "bin"
    found = shutil.which("java", path=str(home)) or shutil.which("java")
    if found is None:
        raise ConfigurationError("no Java found: run `apt-get install default-jre-headless`")
    return found


def simulator_jar() -> Path:
    """Return the simulator's file in the package `scienceworld`, which need not be imported.

    Raises:
        ConfigurationError: The package is not installed.
    """
    spec = importlib.util.find_spec("scienceworld")
    places = spec.submodule_search_locations if spec else None
    jar = Path(places[0]) / "scienceworld.jar" if places else None
    if jar is None or not jar.is_file() or importlib.util.find_spec("py4j") is None:
        raise ConfigurationError(
            'the package scienceworld is missing: run `pip install "armap-agents[scienceworld]"`'
        )
    return jar


class Jvm:
    """One process, started at the first `call`; calls are carried out one after another."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None
        self._simulator: Simulator | None = None
        self._clean_up: weakref.finalize[..., Jvm] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process's id; None before the first call."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether the process runs, or is yet to be started."""
        return self._process is None or self._process.poll() is None

    async def call(self, work: Callable[[Simulator], T]) -> T:
        """Return ``work(simulator)``, which runs in the process's thread.

        A caller that is cancelled no longer waits; work that has begun goes on to its end, and
        later calls come after it.

        Raises:
            ConfigurationError: Java or the package is missing.
            EnvironmentDied: The process is gone.
            EnvironmentFailure: It could not start, failed at the work, or was closed.
        """
        if self._closed:
            raise EnvironmentFailure("this ScienceWorld is closed: make another")
        if self._thread is None:
            # Daemonic, since the interpreter waits for other threads at its end, even for one
            # whose step hangs. It knows the queue alone, so that this object can be forgotten.
            self._thread = threading.Thread(
                target=_work_off, args=(self._jobs,), name="scienceworld", daemon=True
            )
            self._thread.start()
        done: Future[T] = Future()
        self._jobs.put((done, lambda: self._carry_out(work)))
        return await asyncio.wrap_future(done)

    async def close(self) -> None:
        """Kill the process and wait until it is gone; a call under way fails."""
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._kill()
        if self._thread is not None:
            self._thread.join()
        if self._clean_up is not None:
            self._clean_up()

    def _carry_out(self, work: Callable[[Simulator], T]) -> T:
        if self._closed or not self.alive:
            raise EnvironmentDied("the Java process of ScienceWorld is gone: make another")
        if self._simulator is None:
            needed = java(), simulator_jar()  # looked for before py4j, which comes with the package
        from py4j.protocol import Py4JError, Py4JJavaError

        try:
            if self._simulator is None:
                self._simulator = self._start(*needed)
            self._client.free()
            return work(self._simulator)
        except Py4JJavaError as error:
            said = str(error.java_exception).partition("\n")[0]
            raise EnvironmentFailure(f"ScienceWorld failed: {said}") from None
        except (Py4JError, OSError):
            self._kill()
            raise EnvironmentDied(
                "the Java process of ScienceWorld ended in a step: killed?"
            ) from None

    def _start(self, executable: str, jar: Path) -> Simulator:
        self._process = _launch(executable, jar, _working_folder())
        self._clean_up = weakref.finalize(self, _clean_up, self._process, self._jobs)
        if self._closed:  # while the process was being made, so that `close` could not see it
            self._kill()
        gateway, self._client = _connect(self._process)
        return Simulator(gateway)

    def _kill(self) -> None:
        if self._process is not None:
            _kill(self._process)


def _work_off(jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]) -> None:
    while (job := jobs.get()) is not None:
        done, work = job
        if done.set_running_or_notify_cancel():
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)
        del job, done, work  # else the last job keeps its `Jvm` alive while this waits


def _working_folder() -> Path:
    """Return where simulators run: at every load they write a file there, which nobody reads.

    It leads nowhere, so that they can share the folder and nothing is left of one that is killed.
    """
    folder = cache_folder() / "scienceworld"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (folder / "object_type_ids.tsv").symlink_to(os.devnull)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written ({error.strerror}): set ARMAP_CACHE to another folder"
        ) from None
    return folder


def _launch(executable: str, jar: Path, folder: Path) -> subprocess.Popen[bytes]:
    from py4j.java_gateway import find_jar_path

    classpath = os.pathsep.join([find_jar_path(), str(jar)])
    command = [executable, *OPTIONS, "-classpath", classpath, "py4j.GatewayServer"]
    try:
        return subprocess.Popen(  # noqa: S603 - the user's own Java
            [*command, "--die-on-broken-pipe", "--enable-auth", "0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigurationError(
            f"{executable} cannot be run ({error.strerror}): set JAVA_HOME to a working Java, or "
            "run `apt-get install default-jre-headless`"
        ) from None


def _connect(process: subprocess.Popen[bytes]) -> tuple[Any, Any]:
    """Return py4j's gateway and client, once the process has said its port and password."""
    from py4j.java_gateway import GatewayParameters, JavaGateway

    # py4j tells of a process's end with tracebacks; here it is an `EnvironmentDied`.
    logging.getLogger("py4j.java_gateway").setLevel(logging.WARNING)
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line.decode(errors="replace").strip())
        if said[-1].isdecimal():
            break
    else:
        if _status(process) < 0:  # a signal's; what Java refuses by itself has a positive one
            raise EnvironmentDied("the Java process of ScienceWorld was killed while it started")
        words = " ".join(said)[:300] or "nothing"
        raise EnvironmentFailure(
            f"Java could not start ScienceWorld; it said: {words}; a HotSpot JVM (`java -version` "
            "says OpenJDK) and 1 GB of free memory are needed"
        )
    password = process.stdout.readline().decode().strip()
    parameters = GatewayParameters(port=int(said[-1]), auth_token=password)
    client = _client(parameters)
    gateway = JavaGateway(gateway_parameters=parameters)
    gateway.set_gateway_client(client)
    # The simulator prints every step; nobody reads the pipe from here on, and a full one blocks.
    nowhere = gateway.jvm.java.io.PrintStream(gateway.jvm.java.io.FileOutputStream(os.devnull))
    gateway.jvm.java.lang.System.setOut(nowhere)
    gateway.jvm.java.lang.System.setErr(nowhere)
    return gateway, client


def _client(parameters: Any) -> Any:
    from py4j.java_gateway import GatewayClient
    from py4j.protocol import Py4JNetworkError

    class Client(GatewayClient):  # type: ignore[misc]
        """py4j's client sends a command again when no answer came: a step might be taken twice.

        It also writes tracebacks into the root logger, where the end of a process is no news, and
        frees Java's objects in whatever thread Python collects theirs, be it an event loop's.
        """

        def __init__(self) -> None:
            super().__init__(gateway_parameters=parameters)
            self._unused: deque[str] = deque()

        def garbage_collect_object(self, target_id: str) -> None:
            self._unused.append(target_id)

        def free(self) -> None:
            """Free the objects that Python has dropped; to be called in the process's thread."""
            while self._unused:
                super().garbage_collect_object(self._unused.popleft())

        def send_command(self, command: str, retry: bool = True, binary: bool = False) -> Any:
            connection = self._get_connection()
            try:
                answer = connection.send_command(command)
            except Py4JNetworkError:
                connection.close()
                raise
            self._give_back_connection(connection)
            return answer

    return Client()


def _status(process: subprocess.Popen[bytes]) -> int:
    """Return with what status a process ended that has closed its output; 1 if it lives on."""
    try:
        return process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        _kill(process)
        return 1


def _clean_up(process: subprocess.Popen[bytes], jobs: SimpleQueue[Any]) -> None:
    """Leave nothing of a process behind, at `close`, without it, or at the interpreter's end."""
    jobs.put(None)
    _kill(process)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
