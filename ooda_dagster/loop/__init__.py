"""The phases, one module each: ledger and target in, message out. What Dagster's assets and the CLI both call."""
