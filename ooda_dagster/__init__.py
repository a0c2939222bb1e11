"""A database that tunes itself, with receipts.

Observe → Orient → Decide → Act → Learn, for each target database, as Dagster assets:

    core/      the loop as pure functions: messages, journal states, policy, verdict, cadence
    targets/   what can be observed and done on a database
    embedded/  PostgreSQL from a wheel, and the statistics clone
    ledger/    what the loop remembers
    collect/   samples targets into the ledger's rollups
    advisor/   which indexes would pay
    actions/   the playbook, and the only two modules that change a target
    loop/      one module per phase: ledger and target in, message out
    defs/      thin Dagster: assets, checks, schedule, sensors
"""

__version__ = "0.1.0"
