"""One PostgreSQL cluster of ours: made when it is missing, started, adopted, cloned, killed, stopped.

A cluster lives in `<home>/<name>`: data, log, password and state. Several stand side by side; several processes may use
a running one, and the last of them stops it, at its end at the latest.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import psycopg
from filelock import FileLock, Timeout
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ooda_dagster.embedded.binaries import Binaries, find_binaries
from ooda_dagster.embedded.errors import ClusterError
from ooda_dagster.embedded.files import ClusterFiles, ClusterState, free_port, generate_password, is_free
from ooda_dagster.embedded.postmaster import Postmaster
from ooda_dagster.embedded.programs import Programs
from ooda_dagster.embedded.server_user import ServerUser, leave_home, reachable_home, runnable
from ooda_dagster.embedded.started import forget, use, used_by_us_alone

_LOCK_TIMEOUT_S, _ADOPT_TIMEOUT_S, _STOP_TIMEOUT_S = 300, 300, 60
_START_TRIES, _RETRY_S = 8, 0.5
#: What the server says in its log, in the C locale, where it is worth another try.
_PASSES = re.compile(r"shared memory block|Address already in use|could not create any|lock file|may be in use")
_SUPERUSER = "postgres"

#: A cluster that is thrown away need not survive a power cut.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class Cluster:
    """A PostgreSQL server in `<home>/<name>`. Making the object touches nothing; `start` does.

    preload: shared_preload_libraries; settings: lines of postgresql.conf; durable: fsync and its like;
    checksums: of data pages, decided when the cluster is made; stop_at_exit: whether it ends with the process that
    started it. Where not, those who use it settle among themselves who stops it.
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
        stop_at_exit: bool = True,
    ) -> None:
        self.home = Path(home).absolute()
        self.name = name
        self.files = ClusterFiles(self.home / name)
        self._postmaster = Postmaster(self.files)
        self._binaries = binaries
        self._preload = tuple(preload)
        self._settings = dict(settings or {})
        self._durable = durable
        self._checksums = checksums
        self._stop_at_exit = stop_at_exit
        self._entered_by_start = False

    def __repr__(self) -> str:
        return f"Cluster({self.name!r}, {self.home})"

    def __enter__(self) -> Cluster:
        self._entered_by_start = self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered_by_start:
            self._stop_if_unused()

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
        return self._postmaster.pid

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def exists(self) -> bool:
        return self.files.complete

    def _state(self) -> ClusterState:
        state = self.files.read_state()
        if state is None:
            raise ClusterError(f"cluster {self.name!r} in {self.home} was never started")
        return state

    def dsn(self, dbname: str = "postgres", *, user: str = _SUPERUSER, password: str | None = None) -> str:
        """Connection URL over loopback TCP."""
        secret = self.password if password is None else password
        login = f"{quote(user, safe='')}:{quote(secret, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{quote(dbname, safe='')}"

    def socket_dsn(self, dbname: str = "postgres", *, user: str = _SUPERUSER) -> str:
        """Connection string over the Unix socket."""
        state = self._state()
        return make_conninfo(
            "", host=state.socket_dir, port=state.port, user=user, password=self.password, dbname=dbname
        )

    # ------------------------------------------------------------------ start and stop

    def start(self) -> bool:
        """Start it, making it first where it is missing. False where it ran already and was adopted.

        Raises ClusterError with the end of the server's log.
        """
        try:
            with self._launcher_lock():
                if not self.files.foreign and self._adopt():
                    self._use(None)
                    return False
                user = ServerUser.choose()
                place = reachable_home(self.home, user)
                binaries = runnable(self._binaries or find_binaries(), user, place)
                self.files.place(place, user)
                if not self.files.complete:
                    self._initialise(binaries, user)
                self._check_version(binaries)
                self._launch(binaries, user)
        except PermissionError as error:
            raise ClusterError(
                f"cluster {self.name!r}: no right to {error.filename}, which may belong to another user who started "
                "it; remove it as that user, or set OODA_HOME to a directory of your own"
            ) from error
        return True

    @contextmanager
    def _launcher_lock(self) -> Iterator[None]:
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.home / f"{self.name}.lock", timeout=_LOCK_TIMEOUT_S):
                yield
        except Timeout:
            raise ClusterError(f"another process has been starting cluster {self.name!r} for minutes") from None

    def _adopt(self) -> bool:
        """Whether a server runs and takes connections; waits for one that is starting, or that ends just now."""
        deadline = time.monotonic() + _ADOPT_TIMEOUT_S
        while self.running:
            if psycopg.pq.PGconn.ping(self.dsn().encode()) == psycopg.pq.Ping.OK:
                return True
            if time.monotonic() > deadline:
                log = "\n".join(self.files.log_lines()[-12:])
                raise ClusterError(f"cluster {self.name!r} runs and does not answer:\n{log}")
            time.sleep(0.1)
        return False

    def _initialise(self, binaries: Binaries, user: ServerUser) -> None:
        self.files.discard_data()  # half of one, from an initdb that was killed
        password = generate_password()
        programs = Programs(self.files, binaries.directory, user)
        programs.initdb(binaries, _SUPERUSER, password, checksums=self._checksums)
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

    def _launch(self, binaries: Binaries, user: ServerUser) -> None:
        """After a crash the first starts fail, while orphaned backends are still going."""
        programs = Programs(self.files, binaries.directory, user)
        try:
            for attempt in range(1, _START_TRIES + 1):
                self._postmaster.void_recycled_pid(user)
                self._configure(binaries, user)  # again: the port may have been taken between look and use
                try:
                    programs.start()
                    break
                except ClusterError as error:
                    if attempt == _START_TRIES or not _PASSES.search(str(error)):
                        raise
                time.sleep(_RETRY_S)
            self._use(user)
        except ClusterError:
            raise
        except BaseException:  # Ctrl-C, which ended pg_ctl and not the server that it had begun to start
            deadline = time.monotonic() + 2
            while not self.running and time.monotonic() < deadline:
                time.sleep(0.05)
            self.stop()
            raise

    def _configure(self, binaries: Binaries, user: ServerUser) -> None:
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
        self.files.write_state(
            ClusterState(port, str(socket_dir), binaries.version, binaries.provider, str(binaries.directory))
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop it, whoever started it; nothing happens where it does not run. mode: smart, fast or immediate."""
        self._postmaster.end(mode, _STOP_TIMEOUT_S)
        forget(self.files.directory)
        self.files.remove_socket_directory()

    def _use(self, started_as: ServerUser | None) -> None:
        """Be a user of the running server; who started it has it guarded too."""
        if self._stop_at_exit and (pid := self.pid) is not None:
            guard = self._postmaster.guard(pid, started_as) if started_as else None
            use(self.files.directory, self.home / f"{self.name}.users", pid, guard, self._stop_if_unused)

    def _stop_if_unused(self) -> None:
        with self._launcher_lock():
            if used_by_us_alone(self.files.directory, self.pid):
                self.stop()
            else:
                forget(self.files.directory)

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL to the postmaster and its children, as a crash would."""
        self._postmaster.kill()
        forget(self.files.directory)

    def destroy(self) -> None:
        """Stop it and remove every file of it, and what was made outside `home` for it alone.

        In a copy of another project, the server and the data are the other's: only the link to them goes.
        """
        if self.files.foreign:
            self.files.directory.unlink()
            return
        self.stop("immediate")
        self.files.destroy()
        leave_home(self.home, ServerUser.choose())
        for suffix in ("lock", "users"):
            (self.home / f"{self.name}.{suffix}").unlink(missing_ok=True)

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

    def ensure_database(self, name: str) -> None:
        """Make a database unless it exists; several processes may ask at once."""
        if not self.database_exists(name):
            with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                self.create_database(name)

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
        with copy._launcher_lock():
            if copy.running:
                raise ClusterError(f"cluster {name!r} runs; stop it before it is made anew")
            copy.files.place(reachable_home(self.home, user), user)
            copy.files.discard_data()
            Programs(copy.files, Path(state.bin_dir), user).basebackup(self.dsn(password=""), self.password)
            copy.files.write_password(self.password)
            copy.files.mark_complete()
        return copy

    def promote(self) -> None:
        """Make a replica accept writes."""
        Programs(self.files, Path(self._state().bin_dir), ServerUser.choose()).promote()
