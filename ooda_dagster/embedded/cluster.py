"""One PostgreSQL cluster of ours: made when it is missing, started, adopted, cloned, killed, stopped.

A cluster lives in `<home>/<name>`: data, log, password and state. Several stand side by side; several processes may use
a running one, and only the one that started it stops it.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import psycopg
from filelock import FileLock, Timeout
from psycopg import sql

from ooda_dagster.embedded.binaries import Binaries, find_binaries
from ooda_dagster.embedded.files import ClusterFiles, ClusterState, free_port, generate_password, is_free
from ooda_dagster.embedded.server_user import ServerUser, reachable_home, runnable

_LOCK_TIMEOUT_S = 300
_START_TIMEOUT_S = 300  # redo of a large write-ahead log takes minutes
_STOP_TIMEOUT_S = 60
_START_TRIES, _RETRY_S = 8, 0.5
_LOG_LINES = 12
_SUPERUSER = "postgres"

#: A cluster that is thrown away need not survive a power cut.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

_started: dict[Path, tuple[int, Cluster]] = {}


class ClusterError(RuntimeError):
    """A cluster that cannot be made, started or used; quotes the server's log."""


class Cluster:
    """A PostgreSQL server in `<home>/<name>`. Making the object touches nothing; `start` does.

    preload: shared_preload_libraries; settings: lines of postgresql.conf; durable: fsync and its like;
    checksums: of data pages, decided when the cluster is made.
    """

    def __init__(
        self,
        home: Path,
        name: str,
        *,
        binaries: Binaries | None = None,
        preload: Sequence[str] = ("pg_stat_statements", "auto_explain", "pg_prewarm"),
        settings: Mapping[str, str | int] | None = None,
        durable: bool = True,
        checksums: bool = True,
    ) -> None:
        self.home = Path(home).absolute()
        self.name = name
        self.files = ClusterFiles(self.home / name)
        self._binaries = binaries
        self._preload = tuple(preload)
        self._settings = dict(settings or {})
        self._durable = durable
        self._checksums = checksums

    def __repr__(self) -> str:
        return f"Cluster({self.name!r}, {self.home})"

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_ours:
            self.stop()

    # ------------------------------------------------------------------ what it is

    @property
    def data_dir(self) -> Path:
        return self.files.data

    @property
    def log_file(self) -> Path:
        return self.files.log

    @property
    def port(self) -> int:
        return self._state().port

    @property
    def password(self) -> str:
        return self.files.read_password()

    @property
    def version(self) -> tuple[int, int]:
        return self._state().version

    @property
    def pid(self) -> int | None:
        """Of the postmaster, if it runs."""
        pid = self.files.postmaster_pid()
        if pid is None:
            return None
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE or "postgres" not in process.name():
                return None
            # Another server may have been given the pid that ours had: a postmaster's working directory is its data.
            return pid if Path(process.cwd()) == self.data_dir.resolve() else None
        except psutil.AccessDenied:
            return pid
        except psutil.NoSuchProcess:
            return None

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def exists(self) -> bool:
        return self.files.complete

    @property
    def _is_ours(self) -> bool:
        return _started.get(self.files.directory, (0, self))[0] == os.getpid()

    def _state(self) -> ClusterState:
        state = self.files.read_state()
        if state is None:
            raise ClusterError(f"cluster {self.name!r} in {self.home} was never started")
        return state

    def dsn(self, dbname: str = "postgres", *, user: str = _SUPERUSER, password: str | None = None) -> str:
        """Connection URL over loopback TCP."""
        secret = self.password if password is None else password
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{dbname}"

    def socket_dsn(self, dbname: str = "postgres", *, user: str = _SUPERUSER) -> str:
        """Connection string over the Unix socket."""
        return f"host={self._state().socket_dir} port={self.port} user={user} password={self.password} dbname={dbname}"

    # ------------------------------------------------------------------ start and stop

    def start(self) -> bool:
        """Start it, making it first where it is missing. False where it ran already and was adopted.

        Raises ClusterError with the end of the server's log.
        """
        user = ServerUser.choose()
        place = reachable_home(self.home, user)
        binaries = runnable(self._binaries or find_binaries(), user, place)
        with self._launcher_lock():
            self.files.place(place, user)
            if self.running:
                self._wait_ready()
                return False
            if not self.files.complete:
                self._initialise(binaries, user)
            self._check_version(binaries)
            state = self._configure(binaries, user)
            self._launch(binaries, user)
            self.files.write_state(state)
            _started[self.files.directory] = (os.getpid(), self)
        return True

    @contextmanager
    def _launcher_lock(self) -> Iterator[None]:
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.home / f"{self.name}.lock", timeout=_LOCK_TIMEOUT_S):
                yield
        except Timeout:
            raise ClusterError(f"another process has been starting cluster {self.name!r} for minutes") from None

    def _initialise(self, binaries: Binaries, user: ServerUser) -> None:
        self.files.discard_data()  # half of one, from an initdb that was killed
        password = generate_password()
        with self.files.password_file(password, user) as password_file:
            argv = [binaries.program("initdb"), "-D", str(self.files.data), "-U", _SUPERUSER, "-E", "UTF8", "--no-sync"]
            argv += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
            if binaries.major >= 17:  # the same order on every platform, without the operating system's locales
                argv += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            else:
                argv += ["--locale=C.UTF-8"]
            if self._checksums:
                argv.append("--data-checksums")
            elif binaries.major >= 18:
                argv.append("--no-data-checksums")
            self._run(argv, user, "making the cluster")
        self.files.write_password(password)
        self.files.include_settings(user)
        self.files.mark_complete()

    def _check_version(self, binaries: Binaries) -> None:
        made_by = self.files.data_version()
        if made_by != binaries.major:
            raise ClusterError(
                f"cluster {self.name!r} was made by PostgreSQL {made_by}, and PostgreSQL {binaries.major} "
                f"({binaries.provider}) cannot open it: remove {self.files.directory}, or set OODA_PG_BIN to version "
                f"{made_by}"
            )

    def _configure(self, binaries: Binaries, user: ServerUser) -> ClusterState:
        before = self.files.read_state()
        port = before.port if before and is_free(before.port) else free_port()
        socket_dir = self.files.socket_directory(user)
        settings: dict[str, Any] = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": socket_dir,
            "shared_preload_libraries": ",".join(self._preload),
            "compute_query_id": "on" if "pg_stat_statements" in self._preload else "auto",
            "track_io_timing": "on",
            **({} if self._durable else _NOT_DURABLE),
            **self._settings,
        }
        self.files.write_settings(settings, user)
        return ClusterState(port, str(socket_dir), binaries.version, binaries.provider, str(binaries.directory))

    def _launch(self, binaries: Binaries, user: ServerUser) -> None:
        """After a crash the first starts fail, while orphaned backends are still going."""
        argv = [binaries.program("pg_ctl"), "-D", str(self.files.data), "-l", str(self.files.log)]
        argv += ["-w", "-t", str(_START_TIMEOUT_S), "start"]
        self.files.prepare_log(user)
        for attempt in range(_START_TRIES):
            self._drop_recycled_pid()
            done = self._run(argv, user, "starting the server", check=attempt == _START_TRIES - 1)
            if done.returncode == 0:
                return
            time.sleep(_RETRY_S)

    def _drop_recycled_pid(self) -> None:
        """Remove a pid file whose pid belongs to another program now: PostgreSQL would take that for a postmaster.

        Never while any process works in the data directory: the file is what keeps two servers from one cluster.
        """
        pid = self.files.postmaster_pid()
        if pid is None or not psutil.pid_exists(pid) or self.running:
            return
        data = str(self.files.data)
        if not any(p.info["cwd"] == data for p in psutil.process_iter(["cwd"])):
            self.files.drop_pid_file()

    def _wait_ready(self) -> None:
        """Of a server that another process is starting."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.dsn(), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or not self.running:
                    raise ClusterError(f"cluster {self.name!r} does not answer: {error}{self._log_end()}") from error
                time.sleep(0.2)

    def stop(self, mode: str = "fast") -> None:
        """Stop it, whoever started it; nothing happens where it does not run. mode: smart, fast or immediate."""
        if self.running:
            user = ServerUser.choose()
            argv = [str(Path(self._state().bin_dir) / "pg_ctl"), "-D", str(self.files.data), "-w"]
            argv += ["-t", str(_STOP_TIMEOUT_S), "stop"]
            done = self._run([*argv, "-m", mode], user, "stopping the server", check=False)
            if done.returncode != 0 and self.running:
                self._run([*argv, "-m", "immediate"], user, "stopping the server")
        _started.pop(self.files.directory, None)
        self.files.remove_socket_directory()

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL to the postmaster and its children, as a crash would."""
        pid = self.pid
        if pid is None:
            return
        postmaster = psutil.Process(pid)
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=10)
        _started.pop(self.files.directory, None)

    def destroy(self) -> None:
        """Stop it and remove every file of it."""
        self.stop("immediate")
        self.files.destroy()

    # ------------------------------------------------------------------ databases

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn(), autocommit=True, connect_timeout=10)

    def database_exists(self, name: str) -> bool:
        with self._connect() as connection:
            return connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone() is not None

    def create_database(self, name: str, template: str | None = None) -> None:
        """Make a database; from `template` by copying its files, which must have no connection."""
        text = sql.SQL("create database {}").format(sql.Identifier(name))
        if template is not None:
            text += sql.SQL(" template {} strategy file_copy").format(sql.Identifier(template))
        with self._connect() as connection:
            connection.execute(text)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists; its connections are ended."""
        with self._connect() as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    # ------------------------------------------------------------------ clones

    def clone(self, name: str, *, settings: Mapping[str, str | int] | None = None) -> Cluster:
        """A streaming replica of this running cluster beside it, not started yet; `promote` makes it its own."""
        state, user = self._state(), ServerUser.choose()
        copy = Cluster(
            self.home,
            name,
            binaries=Binaries(Path(state.bin_dir), state.version, state.provider),
            preload=self._preload,
            settings={**self._settings, **(settings or {})},
            durable=self._durable,
            checksums=self._checksums,
        )
        if copy.running:
            raise ClusterError(f"cluster {name!r} runs; stop it before it is made anew")
        with copy._launcher_lock():
            copy.files.place(reachable_home(self.home, user), user)
            copy.files.discard_data()
            argv = [str(Path(state.bin_dir) / "pg_basebackup"), "-D", str(copy.files.data), "-R", "-c", "fast"]
            argv += ["-X", "stream", "-d", self.dsn(password="")]
            self._run(argv, user, "cloning", environment={"PGPASSWORD": self.password})
            copy.files.write_password(self.password)
            copy.files.mark_complete()
        return copy

    def promote(self) -> None:
        """Make a replica accept writes."""
        argv = [str(Path(self._state().bin_dir) / "pg_ctl"), "-D", str(self.files.data), "-w", "promote"]
        self._run(argv, ServerUser.choose(), "promoting")

    # ------------------------------------------------------------------ programs

    def _run(
        self,
        argv: Sequence[str],
        user: ServerUser,
        doing: str,
        *,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        base = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": str(self.files.directory)}
        # Output goes to a file: a server that pg_ctl starts would keep a pipe open.
        with self.files.output() as output:
            done = subprocess.run(
                argv,
                cwd=self.files.real,
                env={**base, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                start_new_session=True,  # Ctrl-C is for us: we stop the server in order
                **user.options(),
            )
            if check and done.returncode != 0:
                output.seek(0)
                said = output.read().decode(errors="replace").strip()
                raise ClusterError(f"{doing} {self.name!r} failed: {said[-2000:]}{self._log_end()}")
        return done

    def _log_end(self) -> str:
        lines = self.files.log_lines()[-_LOG_LINES:]
        return "\n" + "\n".join(lines) if lines else ""


def stop_started() -> None:
    """Stop every cluster that this process started and that still runs."""
    for directory, (pid, cluster) in list(_started.items()):
        if pid == os.getpid():
            try:
                cluster.stop()
            finally:
                _started.pop(directory, None)


atexit.register(stop_started)
