"""One small network of each family, for the tests that compute: the sample that stands for all names.

The ML-CSC baseline is not in it: it has no norms to swap, and its strided adjoint is defined for even sizes alone. What it
does is tested beside it, as are the conversions of the baselines of Table 4.
"""

from typing import Any

import timm

import mgnet_models
from mgnet_models.nn.classifier import Network

__all__ = ["SMALL", "build", "mgnet_models"]

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "mgnet_bl": ("mgnet", {"notation": "MgNet[2,3]-[(6,4),(5,8)]-B^l", "num_classes": 5}),
    "mgnet_bli": ("mgnet", {"notation": "MgNet[1,2]-[(4,6),(8,5)]-B^{l,i}", "num_classes": 5}),
    "resnet_ali_bli": ("mgresnet18_ali_bli", {"channels": (6, 8, 10, 12), "num_classes": 5}),
    "resnet_al_bl": ("mgresnet18_al_bl", {"channels": (6, 8, 10, 12), "num_classes": 5}),
    "preact_al_bli": ("mgpreactresnet18_al_bli", {"channels": (6, 8, 10, 12), "num_classes": 5}),
    "gdfi_lin_post": ("gdfi_lin_post", {"notation": "MgNet[2,2]-[(6,4),(5,8)]-B^{l,i}", "num_classes": 5}),
    "gdfi_both_pre": ("gdfi_both_pre", {"notation": "MgNet[2,2]-[(6,4),(5,8)]-B^{l,i}", "num_classes": 5}),
    "rescsc": ("rescsc20", {"blocks": (1, 1), "channels": (4, 8), "num_classes": 5}),
    "msdcsc": ("msdcsc40_k12", {"blocks": 2, "layers": 3, "growth": 4, "stem_channels": 8, "num_classes": 5}),
    "msdnet": ("msdnet40_k12", {"blocks": 2, "layers": 3, "growth": 4, "stem_channels": 8, "num_classes": 5}),
    "plain": ("plain20", {"convolutions": (1, 2), "channels": (4, 8), "num_classes": 5}),
    "mgnet_224": ("mgnet", {"notation": "MgNet[2,2]-[8]-B^l", "stem": "imagenet", "num_classes": 5}),
}


def build(family: str, **kwargs: Any) -> Network:
    """The network of this family with further arguments of `timm.create_model`."""
    name, arguments = SMALL[family]
    return timm.create_model(name, **arguments, **kwargs)
