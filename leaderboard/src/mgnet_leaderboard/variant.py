"""What a run changed of the network its name registers, so that a changed network never stands beside the printed one."""

from __future__ import annotations

from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.strict_json import short

# What the data set decides: channels of the image and number of classes.
OF_THE_DATA = {"in_chans", "num_classes", "img_size"}


def variant_of(record: Measured) -> str:
    """The model arguments that are not the data set's, as text; empty for the network as registered."""
    own = {name: value for name, value in record.model_args.items() if name not in OF_THE_DATA}
    return ", ".join(f"{name} {value if isinstance(value, str) else short(value)}" for name, value in sorted(own.items()))
