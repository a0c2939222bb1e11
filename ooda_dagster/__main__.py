"""`python -m ooda_dagster`: the same as `ooda`."""

from ooda_dagster.cli import main

if __name__ == "__main__":
    main()
