"""Where MLflow keeps the runs, and how that is shown.

What an address means, and whether it can be reached, is MLflow's business; `mgnet_train.tracking.store` asks it.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.request import pathname2url

from mgnet_records.addresses import shown

VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"


def is_default() -> bool:
    """Whether the store is the database in the folder of runs: the variable is unset or empty."""
    return not os.environ.get(VARIABLE)


def store_uri(runs: Path) -> str:
    """The address that MLflow's standard variable gives, else that of an sqlite file in the folder of runs."""
    return os.environ.get(VARIABLE) or f"sqlite:///{pathname2url(str(runs.resolve() / DATABASE))}"


def store_name(runs: Path) -> str:
    """The store in words for a person: the address without what may be secret, or the path of the default database."""
    return str(runs / DATABASE) if is_default() else shown(store_uri(runs))
