"""Runs PostgreSQL's programs for a cluster, as the server user: initdb, pg_ctl, pg_basebackup."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ooda_dagster.embedded.binaries import Binaries
from ooda_dagster.embedded.errors import ClusterError
from ooda_dagster.embedded.files import ClusterFiles
from ooda_dagster.embedded.server_user import ServerUser

_START_TIMEOUT_S = 300  # redo of a large write-ahead log takes minutes
_LOG_LINES = 12


class Programs:
    """PostgreSQL's programs, working on the cluster of `files`. Each raises ClusterError with what the program said."""

    def __init__(self, files: ClusterFiles, bin_dir: Path, user: ServerUser) -> None:
        self._files = files
        self._bin_dir = bin_dir
        self._user = user

    def initdb(self, binaries: Binaries, superuser: str, password: str, *, checksums: bool) -> None:
        """Make the data directory."""
        made = self._files.new_data()
        with self._files.password_file(password, self._user) as password_file:
            argv = ["-D", str(made), "-U", superuser, "-E", "UTF8", "--no-sync"]
            argv += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
            if binaries.major >= 17:  # the same order on every platform, without the operating system's locales
                argv += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            else:
                argv += ["--locale=C.UTF-8"]
            if checksums:
                argv.append("--data-checksums")
            elif binaries.major >= 18:
                argv.append("--no-data-checksums")
            self._run("making", "initdb", argv)
        self._files.take_data(made)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        argv = ["-D", str(self._files.data), "-l", str(self._files.log), "-w", "-t", str(_START_TIMEOUT_S), "start"]
        self._run("starting", "pg_ctl", argv)

    def promote(self) -> None:
        self._run("promoting", "pg_ctl", ["-D", str(self._files.data), "-w", "promote"])

    def basebackup(self, dsn: str, password: str) -> None:
        """Copy the server at `dsn` into the data directory, ready to stream from it."""
        made = self._files.new_data()
        argv = ["-D", str(made), "-R", "-c", "fast", "-X", "stream", "-d", dsn]
        self._run("cloning", "pg_basebackup", argv, environment={"PGPASSWORD": password})
        self._files.take_data(made)

    def _run(
        self,
        doing: str,
        program: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        base = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": str(self._files.real)}
        # Output goes to a file: a server that pg_ctl starts would keep a pipe open.
        with self._files.output() as output:
            done = subprocess.run(
                [str(self._bin_dir / program), *argv],
                cwd=self._files.real,
                env={**base, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                start_new_session=True,  # Ctrl-C is for us: we stop the server in order
                **self._user.options(),
            )
            if done.returncode != 0:
                output.seek(0)
                said = output.read().decode(errors="replace").strip()
                log = "".join(f"\n{line}" for line in self._files.log_lines()[-_LOG_LINES:])
                raise ClusterError(f"{doing} cluster {self._files.directory.name!r} failed: {said[-2000:]}{log}")
