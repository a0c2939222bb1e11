"""Where are the targets and the ledger, and by which settings does the loop treat each of them? (`ooda.toml`)"""

from ooda_dagster.config.alerting import Alerts
from ooda_dagster.config.deployment import Deployment
from ooda_dagster.config.file import (
    EMBEDDED_TARGET,
    Config,
    ConfigError,
    TargetConfig,
    embedded_default,
    load_config,
    single_target,
)
from ooda_dagster.config.home import home_directory
from ooda_dagster.config.references import ConnectionReferenceError, Reference

__all__ = [
    "EMBEDDED_TARGET",
    "Alerts",
    "Config",
    "ConfigError",
    "ConnectionReferenceError",
    "Deployment",
    "Reference",
    "TargetConfig",
    "embedded_default",
    "home_directory",
    "load_config",
    "single_target",
]
