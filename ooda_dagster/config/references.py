"""How is a connection string found without being written down in the configuration?

`env:NAME`, `file:PATH`, `service:NAME` (libpq's pg_service.conf), `command:PROGRAM ARGS` (its first output line), and
`embedded:NAME`, a cluster that we run ourselves. Anything else is refused: a configuration holds no secrets.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ooda_dagster.config.home import home_directory
from ooda_dagster.embedded import Cluster

KINDS = ("env", "file", "service", "command", "embedded")
_COMMAND_TIMEOUT_S = 30
#: What the value of a kind looks like. A connection string behind `env:` or `service:` is a secret in the wrong place.
_FORMS = {
    "env": re.compile(r"[A-Za-z_]\w*\Z"),
    "service": re.compile(r"[\w.-]+\Z"),
    "embedded": re.compile(r"(?:\w+@)?[\w-]+(?:/[\w-]+)?\Z"),
}
_PASSWORD = re.compile(r"://[^/\s@]*:[^/\s@]*@|(?:password|pgpassword)\s*=", re.IGNORECASE)


class ConnectionReferenceError(RuntimeError):
    """A reference that leads nowhere; the message says what to set."""


@dataclass(frozen=True)
class Reference:
    """Where a connection string is to be had. `literal` exists for `--url` alone and is never read from a file."""

    kind: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Raises ValueError, which never repeats what may be a secret."""
        kind, colon, value = text.partition(":")
        value = value.strip()
        form = _FORMS.get(kind)
        if (
            not colon
            or kind not in KINDS
            or not value
            or value.startswith("//")
            or (form and not form.match(value))
            or _PASSWORD.search(value)
        ):
            raise ValueError(
                "a connection is given by reference only: env:NAME, file:PATH, service:NAME, command:PROGRAM or "
                "embedded:NAME, so that no password stands in the configuration"
            )
        if kind == "command":
            _arguments(value)
        return cls(kind, value)

    @classmethod
    def literal(cls, dsn: str) -> Reference:
        return cls("literal", dsn)

    def __repr__(self) -> str:
        return "Reference(literal, ...)" if self.kind == "literal" else f"Reference({self.kind}:{self.value})"

    def __str__(self) -> str:
        return "given on the command line" if self.kind == "literal" else f"{self.kind}:{self.value}"

    def resolve(self) -> str:
        """The connection string. Raises ConnectionReferenceError."""
        return getattr(self, f"_{self.kind}")()

    def _literal(self) -> str:
        return self.value

    def _env(self) -> str:
        dsn = os.environ.get(self.value, "").strip()
        if not dsn:
            raise ConnectionReferenceError(
                f"the environment variable {self.value} is not set; it should hold a connection URL"
            )
        return dsn

    def _file(self) -> str:
        path = Path(self.value).expanduser()
        try:
            lines = path.read_text(encoding="utf-8").strip().splitlines()
        except OSError as error:
            raise ConnectionReferenceError(f"{path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ConnectionReferenceError(f"{path} is no text; it should hold a connection URL") from None
        if not lines:
            raise ConnectionReferenceError(f"{path} is empty; its first line should be a connection URL")
        return lines[0].strip()

    def _service(self) -> str:
        return f"service={self.value}"

    def _command(self) -> str:
        argv = _arguments(self.value)
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=True)
        except subprocess.CalledProcessError as error:
            # Not its output: that may hold what it was meant to hide.
            raise ConnectionReferenceError(f"{argv[0]} ended with status {error.returncode}") from None
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise ConnectionReferenceError(f"{argv[0]} cannot be run: {type(error).__name__}") from None
        lines = done.stdout.strip().splitlines()
        if not lines:
            raise ConnectionReferenceError(f"{argv[0]} printed nothing; its first line should be a connection URL")
        return lines[0].strip()

    def _embedded(self) -> str:
        user, name, database = split_embedded(self.value)
        cluster = Cluster(home_directory() / "clusters", name)
        if not cluster.running:
            raise ConnectionReferenceError(
                f"the embedded server {name!r} does not run; `ooda dev` and `ooda demo` start it"
            )
        return cluster.dsn(database, user=user)


def _arguments(command: str) -> list[str]:
    """The command as arguments. Raises ValueError."""
    try:
        return shlex.split(command)
    except ValueError:
        raise ValueError("the command cannot be read: a quote is not closed") from None


def split_embedded(value: str) -> tuple[str, str, str]:
    """User, cluster and database of `[user@]cluster[/database]`."""
    user, at, rest = value.rpartition("@")
    name, _, database = rest.partition("/")
    return (user if at else "postgres"), name, database or "postgres"
