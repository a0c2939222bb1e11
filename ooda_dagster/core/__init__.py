"""The loop as pure functions: no input or output, no clock, no Dagster, no SQL connection.

Everything here takes its data and the time as arguments and returns values, so that every decision of the loop can be
replayed from what the ledger kept.
"""
