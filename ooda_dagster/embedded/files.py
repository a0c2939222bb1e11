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

from ooda_dagster.embedded.server_user import ServerUser, discard_place, read_owner

_OUR_SETTINGS, _NEW_DATA = "ooda.conf", "data.new-"
#: Larger than any system gives.
_NO_PID = 2**30
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
            self._link(real, user)
        real.mkdir(mode=0o700, exist_ok=True)
        user.own(real)

    @property
    def foreign(self) -> bool:
        """Whether the link leads to another home's cluster: ours is a copy of it."""
        if not self.directory.is_symlink():
            return False
        place = Path(os.readlink(self.directory)).parent
        owner = read_owner(place)
        if owner is None or owner == self.directory.parent.resolve():
            return False
        return (owner / self.directory.name).is_symlink()

    def _link(self, real: Path, user: ServerUser) -> None:
        if self.directory.is_symlink():
            before = Path(os.readlink(self.directory))
            if before == real:
                return
            if before.is_dir() and read_owner(before.parent) and not self.foreign:  # our home was moved
                _move(before, real, user)
                discard_place(before.parent)
            self.directory.unlink()
        elif self.directory.is_dir():  # made while the server user could go there
            _move(self.directory, real, user)
        else:  # what the place may hold belonged to a home that was removed
            shutil.rmtree(real, ignore_errors=True)
        self.directory.symlink_to(real)

    def destroy(self) -> None:
        real = self.real
        shutil.rmtree(real, ignore_errors=True)
        if self.directory.is_symlink():
            self.directory.unlink()

    # ------------------------------------------------------------------ data

    @property
    def complete(self) -> bool:
        """Whether initdb came to its end: the mark is written last."""
        return (self.real / "complete").exists() and self.data.is_dir()

    def mark_complete(self) -> None:
        (self.real / "complete").touch()

    def discard_data(self) -> None:
        """Remove the data, and what a program that was killed while it made some has left."""
        (self.real / "complete").unlink(missing_ok=True)
        for directory in (self.data, *self.real.glob(f"{_NEW_DATA}*")):
            shutil.rmtree(directory, ignore_errors=True)

    def new_data(self) -> Path:
        """A name to make data under. Nobody else's: an initdb that outlived its killed caller may still be at work."""
        return self.real / f"{_NEW_DATA}{secrets.token_hex(4)}"

    def take_data(self, made: Path) -> None:
        made.rename(self.data)

    def data_version(self) -> int:
        return int((self.data / "PG_VERSION").read_text().strip())

    def postmaster_pid(self) -> int | None:
        """As the server wrote it; the process may be long gone."""
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None

    def void_pid_file(self, user: ServerUser) -> None:
        """Let it name no process. The rest stays: the server looks whether anybody holds its old shared memory."""
        path = self.data / "postmaster.pid"
        _, *rest = path.read_text().splitlines(keepends=True)
        _write(path, "".join([f"{_NO_PID}\n", *rest]), user)

    # ------------------------------------------------------------------ settings

    def include_settings(self, user: ServerUser) -> None:
        """Let postgresql.conf end with our file; the server reads ALTER SYSTEM's after it."""
        path = self.data / "postgresql.conf"
        _write(path, f"{path.read_text()}\ninclude_if_exists '{_OUR_SETTINGS}'\n", user)

    def write_settings(self, settings: Mapping[str, Any], user: ServerUser) -> None:
        lines = "".join(f"{name} = '{_escaped(str(value))}'\n" for name, value in settings.items())
        comment = "# Written at each start; change the code that starts this server instead.\n"
        _write(self.data / _OUR_SETTINGS, comment + lines, user)

    # ------------------------------------------------------------------ state and secrets

    def read_state(self) -> ClusterState | None:
        try:
            values = json.loads((self.real / "cluster.json").read_text())
            return ClusterState(**{**values, "version": tuple(values["version"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write_state(self, state: ClusterState) -> None:
        _write(self.real / "cluster.json", json.dumps(asdict(state)))

    def read_password(self) -> str:
        return (self.real / "password").read_text().strip()

    def write_password(self, password: str) -> None:
        _write(self.real / "password", password)

    @contextmanager
    def password_file(self, password: str, user: ServerUser) -> Iterator[Path]:
        """A short-lived file that initdb, as the server user, may read."""
        path = self.real / "password.initdb"
        _write(path, password, user)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    # ------------------------------------------------------------------ sockets and logs

    def socket_directory(self, user: ServerUser) -> Path:
        """An empty one: in the cluster's directory if its path can be a socket's, else in the temporary directory.

        What a crash left there goes: the server would wait for the process that its lock file names.
        """
        self.remove_socket_directory()
        near = self.real / "socket"
        shutil.rmtree(near, ignore_errors=True)
        # Server and clients read lists of directories: a comma would part one in two.
        if len(os.fsencode(near)) <= _MAX_SOCKET_DIRECTORY and not set(str(near)) & {",", '"'}:
            near.mkdir(mode=0o700)
            user.own(near)
            return near
        far = Path(tempfile.mkdtemp(prefix="ooda-"))
        user.own(far)
        return far

    def remove_socket_directory(self) -> None:
        state = self.read_state()
        if state and Path(state.socket_dir).parent != self.real and Path(state.socket_dir).name.startswith("ooda-"):
            shutil.rmtree(state.socket_dir, ignore_errors=True)

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


def _move(source: Path, target: Path, user: ServerUser) -> None:
    """Move a directory, to another file system too; what was at `target` is replaced."""
    shutil.rmtree(target, ignore_errors=True)
    try:
        source.rename(target)
    except OSError:
        shutil.move(source, target)
        user.own_tree(target)


def _write(path: Path, text: str, user: ServerUser | None = None) -> None:
    """Replace a file as a whole, readable by its owner alone.

    The directory may belong to the server user, so nothing in it is opened for writing as root: it might be a link.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        if user is not None:
            user.own(Path(temporary))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _escaped(value: str) -> str:
    """Inside the quotes of postgresql.conf."""
    return value.replace("\\", "\\\\").replace("'", "''")


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
