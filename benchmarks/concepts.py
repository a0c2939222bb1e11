"""What does finding concepts in many embeddings cost, in memory and time, and are the planted ones found?

A table of `real` vectors (pgvector) around planted directions, a tenth of them around none, is filled by COPY on an
embedded server. Each size is read in a process of its own: its peak memory is that of the whole loop, imports included,
and its CPU time is set against merely reading the rows. The adjusted Rand index compares 20,000 random rows.

    .venv/bin/python benchmarks/concepts.py [--rows 100000 1000000] [--dimensions 384] [--concepts 30]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
from sklearn.metrics import adjusted_rand_score

from ooda_dagster.core.concept_vectors import Floats, Ints, unit
from ooda_dagster.core.concepts import assign
from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.core.settings import with_profile
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.concepts import find_concepts
from ooda_dagster.loop.context import Loop
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted

_BATCH = 5_000
_TARGET = "embeddings"
_SPREAD, _NOISE = 0.6, 0.1


@contextmanager
def server() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="ooda-concepts-", dir="/var/tmp", ignore_cleanup_errors=True) as room:
        os.chmod(room, 0o755)
        cluster = Cluster(Path(room), "concepts", durable=False, settings={"max_wal_size": "4GB"})
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.destroy()


def fill(dsn: str, rows: int, dimensions: int, concepts: int) -> Ints:
    """The planted concept of each row, by its id from 1; -1 for none."""
    chance = np.random.default_rng(1)
    centres = unit(chance.normal(size=(concepts, dimensions)).astype(np.float32))[0]
    words = [("columns", ">i2"), ("8", ">i4"), ("id", ">i8"), ("bytes", ">i4"), ("dimensions", ">i2"), ("spare", ">i2")]
    layout = np.dtype([*words, ("vector", ">f4", (dimensions,))])
    labels = []
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("create extension vector")
        cursor.execute(
            trusted(
                f"create table atom_embeddings (atom_embedding_id bigint primary key, embedding vector({dimensions}))"
            )
        )
        with cursor.copy("copy atom_embeddings from stdin (format binary)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for start in range(0, rows, _BATCH):
                n = min(_BATCH, rows - start)
                of = chance.integers(0, concepts, n)
                alone = chance.random(n) < _NOISE
                own = chance.standard_normal((n, dimensions), dtype=np.float32) / np.float32(np.sqrt(dimensions))
                block = np.zeros(n, dtype=layout)
                block["columns"], block["8"], block["bytes"] = 2, 8, 4 + 4 * dimensions
                block["id"], block["dimensions"] = np.arange(start + 1, start + n + 1), dimensions
                block["vector"] = np.where(alone[:, None], own, centres[of] + _SPREAD * own)
                copy.write(block.tobytes())
                labels.append(np.where(alone, -1, of))
            copy.write(b"\xff\xff")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze atom_embeddings")
    return np.concatenate(labels)


def peak_mb() -> float:
    """Most memory that this process ever held. Not ru_maxrss, which begins with that of the process it came from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def read(dsn: str, ledger_dsn: str, *, merely: bool) -> None:
    """What a process of its own does: prints its figures as JSON."""
    ledger = Ledger(ledger_dsn)
    loop = Loop(PostgresTarget(_TARGET, dsn), ledger, with_profile("production"), lambda t: print(t, file=sys.stderr))
    loop.register()
    imports_mb = peak_mb()
    began, used = time.monotonic(), time.process_time()
    blind: list[BlindSpot] = []
    with loop.target.observing("benchmark") as session:
        if merely:
            table = session.embedding_table(loop.settings.concepts)
            assert table is not None
            mark, more = None, True
            while more:
                page = table.page(mark, limit=loop.settings.concepts.chunk_rows)
                mark, more = page.last, page.n == loop.settings.concepts.chunk_rows
        else:
            seen = find_concepts(loop, session, str(uuid.uuid4()), scope="embeddings", blind=blind).seen
            assert seen is not None, blind
            assert seen.complete
    figures = {
        "imports_mb": imports_mb,
        "peak_mb": peak_mb(),
        "cpu_s": time.process_time() - used,
        "s": time.monotonic() - began,
    }
    print(json.dumps(figures))


def agreement(dsn: str, ledger: Ledger, labels: Ints) -> tuple[int, float]:
    """How many concepts were found, and the adjusted Rand index of 20,000 random rows."""
    known = ledger.concepts.list(_TARGET)
    centroids: Floats = np.array([c.vector for c in known], dtype=np.float32)
    radii = np.array([c.radius for c in known], dtype=np.float32)
    ids = np.random.default_rng(2).choice(len(labels), min(len(labels), 20_000), replace=False) + 1
    asked = "select atom_embedding_id, embedding::real[] from atom_embeddings where atom_embedding_id = any(%s)"
    with psycopg.connect(dsn) as connection:
        rows = connection.cursor(binary=True).execute(asked, (ids.tolist(),)).fetchall()
    vectors = unit(np.array([row[1] for row in rows], dtype=np.float32))[0]
    truth = labels[[row[0] - 1 for row in rows]]
    return len(known), float(adjusted_rand_score(truth, assign(vectors, centroids, radii)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--concepts", type=int, default=30)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--merely", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read(*given.read, merely=given.merely)
        return
    print(f"{'rows':>9}  {'peak MB':>8}  {'(imports)':>9}  {'CPU s':>6}  {'to reading':>10}  {'s':>6}  found  ARI")
    with server() as cluster:
        for n in given.rows:
            name = f"rows_{n}"
            cluster.create_database(name)
            cluster.create_database(f"ledger_{n}")
            dsn, ledger = cluster.dsn(name), Ledger(cluster.dsn(f"ledger_{n}"))
            ledger.migrate()
            labels = fill(dsn, n, given.dimensions, given.concepts)
            asked = [sys.executable, __file__, "--read", dsn, cluster.dsn(f"ledger_{n}")]
            merely, found = (
                json.loads(subprocess.run([*asked, *more], check=True, stdout=subprocess.PIPE).stdout)
                for more in (["--merely"], [])
            )
            concepts, score = agreement(dsn, ledger, labels)
            ledger.close()
            cluster.drop_database(name)
            print(
                f"{n:>9,}  {found['peak_mb']:>8.0f}  {found['imports_mb']:>9.0f}  {found['cpu_s']:>6.1f}  "
                f"{found['cpu_s'] / merely['cpu_s']:>9.1f}x  {found['s']:>6.1f}  {concepts:>5}  {score:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
