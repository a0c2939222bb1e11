"""The files of one cluster: where they are, who owns them, which of them are complete."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ooda_dagster.embedded.server_user import ServerUser

_OUR_SETTINGS = "ooda.conf"
#: sun_path is 108 bytes with its NUL, and PostgreSQL appends /.s.PGSQL.65535.lock
_MAX_SOCKET_DIRECTORY = 108 - 1 - len("/.s.PGSQL.65535.lock")


@dataclass(frozen=True)
class ClusterState:
    """What another process must know to use a running cluster."""

    port: int
    socket_dir: str
    version: tuple[int, int]
    provider: str
    bin_dir: str


class ClusterFiles:
    """The directory of a cluster. `directory` may be a link to `real`, where the server user can reach it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def real(self) -> Path:
        return self.directory.resolve()

    @property
    def data(self) -> Path:
        return self.real / "data"

    @property
    def log(self) -> Path:
        return self.real / "server.log"

    def place(self, home: Path, user: ServerUser) -> None:
        """Make the directory, in `home`; linked to where it is looked for if that is elsewhere."""
        real = home / self.directory.name
        if real != self.directory:
            if self.directory.is_symlink() and Path(os.readlink(self.directory)) != real:
                self.directory.unlink()
            if not self.directory.is_symlink():
                if self.directory.is_dir():  # made while the place could be reached
                    shutil.rmtree(self.directory)
                self.directory.symlink_to(real)
        real.mkdir(mode=0o700, exist_ok=True)
        user.own(real)

    def destroy(self) -> None:
        real = self.real
        shutil.rmtree(real, ignore_errors=True)
        if self.directory.is_symlink():
            self.directory.unlink()

    # ------------------------------------------------------------------ data

    @property
    def complete(self) -> bool:
        """Whether initdb came to its end: the mark is written last."""
        return (self.real / "complete").exists()

    def mark_complete(self) -> None:
        (self.real / "complete").touch()

    def discard_data(self) -> None:
        (self.real / "complete").unlink(missing_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)

    def data_version(self) -> int:
        return int((self.data / "PG_VERSION").read_text().strip())

    def postmaster_pid(self) -> int | None:
        """As the server wrote it; the process may be long gone."""
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None

    def drop_pid_file(self) -> None:
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    # ------------------------------------------------------------------ settings

    def include_settings(self, user: ServerUser) -> None:
        """Let postgresql.conf end with our file; the server reads ALTER SYSTEM's after it."""
        with open(self.data / "postgresql.conf", "a") as file:
            file.write(f"\ninclude_if_exists '{_OUR_SETTINGS}'\n")

    def write_settings(self, settings: Mapping[str, Any], user: ServerUser) -> None:
        lines = (f"{name} = '{str(value).replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items())
        path = self.data / _OUR_SETTINGS
        path.write_text("# Written at each start; change the code that starts this server instead.\n" + "".join(lines))
        user.own(path)

    # ------------------------------------------------------------------ state and secrets

    def read_state(self) -> ClusterState | None:
        try:
            values = json.loads((self.real / "cluster.json").read_text())
            return ClusterState(**{**values, "version": tuple(values["version"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write_state(self, state: ClusterState) -> None:
        temporary = self.real / "cluster.json.new"
        temporary.write_text(json.dumps(asdict(state)))
        os.replace(temporary, self.real / "cluster.json")

    def read_password(self) -> str:
        return (self.real / "password").read_text().strip()

    def write_password(self, password: str) -> None:
        path = self.real / "password"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password)

    @contextmanager
    def password_file(self, password: str, user: ServerUser) -> Iterator[Path]:
        """A short-lived file that initdb, as the server user, may read."""
        handle, name = tempfile.mkstemp(dir=self.real)
        path = Path(name)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(password)
            user.own(path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    # ------------------------------------------------------------------ sockets and logs

    def socket_directory(self, user: ServerUser) -> Path:
        """In the cluster's directory where its path is short enough, else a private one in the temporary directory."""
        self.remove_socket_directory()
        near = self.real / "socket"
        if len(os.fsencode(near)) <= _MAX_SOCKET_DIRECTORY:
            near.mkdir(mode=0o700, exist_ok=True)
            user.own(near)
            return near
        far = Path(tempfile.mkdtemp(prefix="ooda-"))
        user.own(far)
        return far

    def remove_socket_directory(self) -> None:
        state = self.read_state()
        if state and Path(state.socket_dir).parent != self.real and Path(state.socket_dir).name.startswith("ooda-"):
            shutil.rmtree(state.socket_dir, ignore_errors=True)

    def prepare_log(self, user: ServerUser) -> None:
        self.log.touch(mode=0o600)
        user.own(self.log)

    def log_lines(self) -> list[str]:
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 20_000))
                return file.read().decode(errors="replace").splitlines()
        except OSError:
            return []

    @contextmanager
    def output(self) -> Iterator[IO[bytes]]:
        """What a program prints."""
        with tempfile.TemporaryFile(dir=self.real) as file:
            yield file


def generate_password() -> str:
    return secrets.token_urlsafe(24)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
