"""MgNet and related networks as timm models. Importing this package is what registers them with timm.

import mgnet_models, timm
model = timm.create_model("mgnet_2_2_2_2_c256_bl", num_classes=100)
"""

from mgnet_models.catalogue.registry import registered_names
from mgnet_models.catalogue.summary import Summary, summary
from mgnet_models.catalogue.table_rows import table_rows
from mgnet_models.catalogue.zoo import ZooEntry, zoo
from mgnet_models.families.baselines import PlainNetwork, PreActNetwork, TwoGroupAlexNet
from mgnet_models.families.gdfi import GDFI
from mgnet_models.families.mgresnet import MgResNet
from mgnet_models.families.mlcsc import MlCsc
from mgnet_models.families.msdcsc import MsdCsc
from mgnet_models.families.rescsc import ResCsc
from mgnet_models.families.sparse_coding import Dictionary
from mgnet_models.mgnet.duality import ModifiedPreActResNet, to_mgnet, to_preact_resnet
from mgnet_models.mgnet.grid import Grid
from mgnet_models.mgnet.model import MgNet
from mgnet_models.mgnet.transfer import Transfer
from mgnet_models.notation import Notation, check_image_size
from mgnet_models.runtime.convolution import Conv3x3, use_winograd, winograd_backend
from mgnet_models.runtime.folding import optimize_for_inference
from mgnet_models.runtime.recompute import RECOMPUTE_MODES, RecomputeMode
from mgnet_models.weights.files import load_checkpoint, save_checkpoint
from mgnet_models.weights.released_code import load_authors_checkpoint
from mgnet_records.table_rows import TableRow

__all__ = [
    "GDFI",
    "RECOMPUTE_MODES",
    "Conv3x3",
    "Dictionary",
    "Grid",
    "MgNet",
    "MgResNet",
    "MlCsc",
    "ModifiedPreActResNet",
    "MsdCsc",
    "Notation",
    "PlainNetwork",
    "PreActNetwork",
    "RecomputeMode",
    "ResCsc",
    "Summary",
    "TableRow",
    "Transfer",
    "TwoGroupAlexNet",
    "ZooEntry",
    "check_image_size",
    "load_authors_checkpoint",
    "load_checkpoint",
    "optimize_for_inference",
    "registered_names",
    "save_checkpoint",
    "summary",
    "table_rows",
    "to_mgnet",
    "to_preact_resnet",
    "use_winograd",
    "winograd_backend",
    "zoo",
]


def __dir__() -> list[str]:
    return __all__
