"""MgNet and its relatives as timm models. Importing this package is what registers them with timm.

import mgnet_models, timm
model = timm.create_model("mgnet_2_2_2_2_c256_bl", num_classes=100)
"""

from mgnet_models.authors_checkpoint import load_authors_checkpoint
from mgnet_models.datasets import DATA_SETS, DataSet
from mgnet_models.dictionary import Dictionary
from mgnet_models.duality import ModifiedPreActResNet, to_mgnet, to_preact_resnet
from mgnet_models.gdfi import GDFI
from mgnet_models.grid import Grid
from mgnet_models.inference import optimize_for_inference
from mgnet_models.memory import MEMORY_MODES
from mgnet_models.mgnet import MgNet
from mgnet_models.mgresnet import MgResNet
from mgnet_models.mlcsc import MlCsc
from mgnet_models.msdcsc import MsdCsc
from mgnet_models.notation import Notation, check_image_size
from mgnet_models.paper import PaperRow, paper_rows
from mgnet_models.plain_networks import PlainNetwork
from mgnet_models.preact_networks import PreActNetwork
from mgnet_models.registry import registered_names
from mgnet_models.rescsc import ResCsc
from mgnet_models.short_convolutions import ShortConvolutions
from mgnet_models.summary import Summary, summary
from mgnet_models.transfer import Transfer
from mgnet_models.two_group_alexnet import TwoGroupAlexNet
from mgnet_models.weights import load_checkpoint, save_checkpoint
from mgnet_models.zoo import ZooEntry, zoo

__all__ = [
    "DATA_SETS",
    "GDFI",
    "MEMORY_MODES",
    "DataSet",
    "Dictionary",
    "Grid",
    "MgNet",
    "MgResNet",
    "MlCsc",
    "ModifiedPreActResNet",
    "MsdCsc",
    "Notation",
    "PaperRow",
    "PlainNetwork",
    "PreActNetwork",
    "ResCsc",
    "ShortConvolutions",
    "Summary",
    "Transfer",
    "TwoGroupAlexNet",
    "ZooEntry",
    "check_image_size",
    "load_authors_checkpoint",
    "load_checkpoint",
    "optimize_for_inference",
    "paper_rows",
    "registered_names",
    "save_checkpoint",
    "summary",
    "to_mgnet",
    "to_preact_resnet",
    "zoo",
]
