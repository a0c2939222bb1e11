"""As whom does the server run, and where may it live?

PostgreSQL refuses to run as root. As root we start it as `nobody`, who owns nothing of ours but the cluster's
directory. No user is made, and no permission of anything that is not ours is changed: where the server user cannot
reach the project's directory or the programs, they get a place of their own under /var/lib, or where that cannot be
written, under /var/tmp (which some systems clear of what was not used for a month).
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ooda_dagster.embedded.binaries import Binaries

#: Where a home that cannot be reached is stood for, in order; and the file there that names it.
_BASES, _OWNER = ("/var/lib", "/var/tmp"), "home"
_COPY, _HALF_COPY = "postgresql-", "copy-"


class ServerUserError(RuntimeError):
    """No user to run the server as, or no place for it; says what to do."""


@dataclass(frozen=True)
class ServerUser:
    """A user to run programs as; `None` ids: ourselves."""

    name: str | None = None
    uid: int | None = None
    gid: int | None = None

    @classmethod
    def choose(cls) -> ServerUser:
        """Ourselves, or as root `$OODA_PG_USER` or nobody. Raises ServerUserError."""
        if os.geteuid() != 0:
            return cls()
        name = os.environ.get("OODA_PG_USER", "nobody")
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise ServerUserError(
                f"running as root, and there is no user {name!r} to run PostgreSQL as; set OODA_PG_USER to an "
                "unprivileged user"
            ) from None
        if entry.pw_uid == 0:
            raise ServerUserError("OODA_PG_USER must not be root: PostgreSQL refuses it")
        return cls(name, entry.pw_uid, entry.pw_gid)

    @property
    def switches(self) -> bool:
        return self.uid is not None

    def options(self) -> dict[str, Any]:
        """Keywords for subprocess."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switches else {}

    def own(self, path: Path) -> None:
        """Make `path`, which is ours, the server's."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def own_tree(self, directory: Path) -> None:
        """The same for a directory and all in it."""
        self.own(directory)
        for root, folders, files in os.walk(directory):
            for name in (*folders, *files):
                self.own(Path(root, name))

    def reaches(self, directory: Path) -> bool:
        """Whether the server user can go into a directory: PostgreSQL changes into its data by the whole path."""
        if not self.switches:
            return True
        check = ["/bin/sh", "-c", 'cd "$1"', "sh", str(directory)]
        return subprocess.run(check, cwd="/", stderr=subprocess.DEVNULL, check=False, **self.options()).returncode == 0

    def runs(self, program: str) -> bool:
        """Whether the server user can run a program: it needs its libraries too."""
        try:
            done = subprocess.run(
                [program, "--version"], cwd="/", capture_output=True, check=False, timeout=20, **self.options()
            )
        except OSError:
            return False
        return done.returncode == 0


def reachable_home(home: Path, user: ServerUser) -> Path:
    """`home`, or, where the server user cannot go there, a directory of ours that stands for it."""
    home.mkdir(parents=True, exist_ok=True)
    if user.reaches(home):
        return home
    place = _place(home)
    try:
        place.mkdir(mode=0o755)
    except FileExistsError:
        found = place.lstat()
        # In a directory where anybody may write, anybody may have been first.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ServerUserError(f"{place} exists and is not ours alone; remove it") from None
    os.chmod(place, 0o755)  # whatever the umask
    (place / _OWNER).write_text(str(home.resolve()))
    if not user.reaches(place):
        raise ServerUserError(f"user {user.name} can reach neither {home} nor {place}; set OODA_PG_USER or OODA_HOME")
    return place


def leave_home(home: Path, user: ServerUser) -> None:
    """Remove the directory that stands for `home`, if there is one and no cluster is left in it."""
    if user.switches and home.is_dir():
        discard_place(_place(home))


def _place(home: Path) -> Path:
    digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:10]
    base = next((b for b in _BASES if os.access(b, os.W_OK)), tempfile.gettempdir())
    return Path(base) / f"ooda-{os.geteuid()}-{digest}"


def read_owner(place: Path) -> Path | None:
    """The home that a directory of ours stands for."""
    try:
        return Path((place / _OWNER).read_text())
    except OSError:
        return None


def discard_place(place: Path) -> None:
    """Remove a directory that stands for a home, with the programs that were copied there, if no cluster is left."""
    if read_owner(place) is None:
        return
    if not any(p.is_dir() and not p.name.startswith((_COPY, _HALF_COPY)) for p in place.iterdir()):
        shutil.rmtree(place, ignore_errors=True)


def runnable(binaries: Binaries, user: ServerUser, home: Path) -> Binaries:
    """The same programs where the server user can run them: as they are, or copied to `home`, which it reaches."""
    if not user.switches or user.runs(binaries.program("postgres")):
        return binaries
    install = binaries.directory.parent
    place = home / f"{_COPY}{'.'.join(map(str, binaries.version))}-{binaries.provider}"
    copied = Binaries(place / install.name / "bin", binaries.version, binaries.provider)
    with FileLock(home / "programs.lock"):
        for half in home.glob(f"{_HALF_COPY}*"):  # of a process that was killed: the lock is ours
            shutil.rmtree(half, ignore_errors=True)
        if not place.exists():
            temporary = Path(tempfile.mkdtemp(prefix=_HALF_COPY, dir=home))
            shutil.copytree(install, temporary / install.name, symlinks=True)
            # The wheel's programs find their libraries beside the package, by a relative path.
            libraries = install.parent.parent / f"{install.parent.name}.libs"
            if libraries.is_dir():
                package = temporary / install.parent.name
                package.mkdir()
                os.rename(temporary / install.name, package / install.name)
                shutil.copytree(libraries, temporary / libraries.name, symlinks=True)
            _readable(temporary)
            os.rename(temporary, place)
    inside = place / install.parent.name / install.name / "bin"
    copied = Binaries(inside if inside.is_dir() else copied.directory, binaries.version, binaries.provider)
    if not user.runs(copied.program("postgres")):
        raise ServerUserError(f"user {user.name} cannot run {copied.program('postgres')}; set OODA_PG_BIN")
    return copied


def _readable(directory: Path) -> None:
    """Let everybody read a copy of ours, whatever the umask was."""
    os.chmod(directory, 0o755)
    for root, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = os.path.join(root, name)
            if not os.path.islink(path):
                executable = os.path.isdir(path) or os.stat(path).st_mode & 0o100
                os.chmod(path, 0o755 if executable else 0o644)
