"""A network that can be cut, or fall silent: a TCP forwarder before a PostgreSQL server, which sees the wire."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from ooda_dagster_tests.support import wait_until

#: ReadyForQuery outside a transaction: the last message of a server's answer.
_ANSWERED = b"Z\x00\x00\x00\x05I"
_MOST = 1 << 16
#: <asm-generic/socket.h>, and a classic BPF program of one instruction: `ret #0`, keep no byte of any packet.
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_KEEP_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)


def _deafen(end: socket.socket) -> None:
    """Have the kernel drop all that comes in for a socket, unacknowledged, as if its machine were gone."""
    program = ctypes.create_string_buffer(_KEEP_NOTHING)
    end.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


class Proxy:
    """Forwards connections to a port of this machine, which may change as its server restarts."""

    def __init__(self, upstream: Callable[[], int]) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pipes: list[_Pipe] = []
        self._lost: list[_Pipe] = []
        self._cut = False
        self._marker: bytes | None = None
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        with suppress(OSError):  # shutdown wakes the thread that accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut(self) -> None:
        """Both sides of every connection see it end, and none comes through until `mend`. Held answers are lost."""
        with self._lock:
            self._cut, self._marker = True, None
            pipes, self._pipes, self._lost = self._pipes + self._lost, [], []
        for pipe in pipes:
            pipe.close()

    def silence(self) -> None:
        """Packets are lost both ways, also those that open or end a connection, and nobody is told, until `mend`.

        What was connected then stays lost for good.
        """
        with self._lock:
            self._marker = None
            long_lost, lost = self._lost, self._pipes
            self._pipes, self._lost = [], lost
            _deafen(self._listener)
        for pipe in lost:
            pipe.silence()
        for pipe in long_lost:  # both their ends have given up
            pipe.close()

    def mend(self) -> None:
        """Connections come through again."""
        with self._lock:
            self._cut = False
            with suppress(OSError):  # none is attached
                self._listener.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)

    def hold(self, after: bytes) -> None:
        """From when a client sends `after` (lower case), keep the answers to it: the server works, the client waits."""
        with self._lock:
            self._marker = after

    def await_answer(self) -> None:
        """Until the server has answered what was sent, and the answer is held."""
        wait_until(lambda: any(p.answered for p in self._pipes), timeout_s=20, what="a held answer")

    def release(self) -> None:
        """Hand over what was held."""
        with self._lock:
            self._marker = None
            pipes = list(self._pipes)
        for pipe in pipes:
            pipe.release()

    def asked(self, sent: bytes) -> bool:
        """Whether the answer to what a client sent is to be held."""
        with self._lock:
            return self._marker is not None and self._marker in sent.lower()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._cut:
                    client.close()
                    continue
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream()), timeout=20)
            except OSError:  # the server is dead
                client.close()
                continue
            server.settimeout(None)
            pipe = _Pipe(self, client, server)
            with self._lock:
                self._pipes = [p for p in self._pipes if not p.closed] + [pipe]
            pipe.start()


class _Pipe:
    """One connection through a proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._lock = threading.Lock()
        self._held: bytes | None = None
        self._pumping = 2
        self.closed = False

    def start(self) -> None:
        for source, forward in ((self._client, self._to_server), (self._server, self._to_client)):
            threading.Thread(target=self._pump, args=(source, forward), name="proxy-pipe", daemon=True).start()

    @property
    def answered(self) -> bool:
        with self._lock:
            return self._held is not None and self._held.endswith(_ANSWERED)

    def _pump(self, source: socket.socket, forward: Callable[[bytes], None]) -> None:
        with suppress(OSError):
            while data := source.recv(_MOST):
                forward(data)
        self.close()
        with self._lock:
            self._pumping -= 1
            if not self._pumping:  # sooner, a new connection could get the number of a socket that is still in use
                self._client.close()
                self._server.close()

    def _to_server(self, data: bytes) -> None:
        if self._proxy.asked(data):
            with self._lock:
                self._held = b""
        self._server.sendall(data)

    def _to_client(self, data: bytes) -> None:
        with self._lock:
            if self._held is not None:
                self._held += data
                return
        self._client.sendall(data)

    def silence(self) -> None:
        """Nothing comes in any more from either side, so nothing is sent on either."""
        with self._lock:
            for end in (self._client, self._server):
                with suppress(OSError):
                    _deafen(end)

    def release(self) -> None:
        with self._lock:
            held, self._held = self._held, None
            if held:
                with suppress(OSError):
                    self._client.sendall(held)

    def close(self) -> None:
        """Shut down, not closed: a forked process may have copies of the sockets, and the other thread uses them."""
        with self._lock:
            self.closed = True
            for end in (self._client, self._server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
