"""The executable specification of the paper's algorithms in plain numpy, with no kernel of torch: the oracle.

Read `algorithm2` beside Algorithm 2. Everything the verifier calls right is what these functions return.
"""

from mgnet_verify.specification.algorithm2 import (
    GridIterates,
    GridTensors,
    Iterates,
    NetTensors,
    TransferTensors,
    algorithm_2,
    correction,
    residual_iteration,
)
from mgnet_verify.specification.exactness import ExactnessError, guarded
from mgnet_verify.specification.operators import Array, convolve, max_pool, mean
from mgnet_verify.specification.sigma import BatchStatistics, Normalization, Sigma, evaluate

__all__ = [
    "Array",
    "BatchStatistics",
    "ExactnessError",
    "GridIterates",
    "GridTensors",
    "Iterates",
    "NetTensors",
    "Normalization",
    "Sigma",
    "TransferTensors",
    "algorithm_2",
    "convolve",
    "correction",
    "evaluate",
    "guarded",
    "max_pool",
    "mean",
    "residual_iteration",
]
