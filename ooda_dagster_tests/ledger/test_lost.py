"""Is a connection to the ledger that is lost told as such, also where the driver has not noticed?"""

from __future__ import annotations

import os
import socket

import pytest
import sqlalchemy as sa

from ooda_dagster.ledger import Ledger, LedgerUnreachableError
from ooda_dagster.ledger.database import connection


def ask_nowhere(ledger: Ledger) -> None:
    """A transaction whose socket is another one by now: connected to nobody, hung up, and with nothing to read."""
    with socket.socket() as nowhere, connection(ledger.engine) as conn:
        driver = conn.connection.driver_connection
        assert driver is not None
        os.dup2(nowhere.fileno(), driver.fileno())
        conn.execute(sa.text("select 1"))


def test_a_socket_that_is_gone_under_the_driver_is_a_lost_connection(ledger: Ledger) -> None:
    with pytest.raises(LedgerUnreachableError, match=r"the connection to the ledger .* was lost"):
        ask_nowhere(ledger)
    with connection(ledger.engine) as conn:  # and the next one is whole
        assert conn.scalar(sa.text("select 1")) == 1
