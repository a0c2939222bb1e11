"""Tells somebody: a webhook that takes JSON with a `text` (Slack, Teams, Mattermost), or a command with it on stdin.

The URL of a webhook is a secret: no error, log line or row holds it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from ooda_dagster.config import Alerts, ConnectionReferenceError

#: A tick must not hang on somebody's server.
_WEBHOOK_TIMEOUT_S = 5
_COMMAND_TIMEOUT_S = 15


class NotDeliveredError(RuntimeError):
    """A channel did not take an alert; the message says why, without the URL."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST becomes a GET elsewhere: told as a failure instead."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def channels(alerts: Alerts) -> list[str]:
    """The configured ones."""
    return [name for name in ("webhook", "command") if getattr(alerts, name)]


def send(alerts: Alerts, channel: str, body: Mapping[str, Any]) -> None:
    """Send one alert. Raises NotDeliveredError."""
    data = json.dumps(body, default=str).encode()
    if channel == "webhook":
        _post(alerts, data)
    else:
        _run(alerts, data)


def _post(alerts: Alerts, data: bytes) -> None:
    assert alerts.webhook is not None
    try:
        url = alerts.webhook.resolve()
    except ConnectionReferenceError as error:
        raise NotDeliveredError(f"alerts.webhook: {error}") from None
    if not url.lower().startswith(("https://", "http://")):
        raise NotDeliveredError("alerts.webhook: what it refers to is no http or https URL")
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method="POST")
        with opener.open(request, timeout=_WEBHOOK_TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"it answered with HTTP {error.code}"
    except Exception as error:  # many kinds, and most of them quote the URL
        reason = _reason(error)
    raise NotDeliveredError(f"alerts.webhook: {reason}")


def _reason(error: BaseException) -> str:
    """What an error is, without its words: those may quote the URL."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {_WEBHOOK_TIMEOUT_S} s"
    if isinstance(cause, OSError) and cause.strerror:
        return str(cause.strerror).lower()
    return f"it cannot be reached ({type(cause).__name__})"


def _run(alerts: Alerts, data: bytes) -> None:
    assert alerts.command is not None
    argv = shlex.split(alerts.command)
    try:
        done = subprocess.run(argv, input=data, capture_output=True, timeout=_COMMAND_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotDeliveredError(f"alerts.command: {argv[0]} took longer than {_COMMAND_TIMEOUT_S} s") from None
    except (OSError, ValueError) as error:
        raise NotDeliveredError(f"alerts.command: {argv[0]} cannot be run: {type(error).__name__}") from None
    if done.returncode:  # not its output: that may hold what it was meant to hide
        raise NotDeliveredError(f"alerts.command: {argv[0]} ended with status {done.returncode}")
