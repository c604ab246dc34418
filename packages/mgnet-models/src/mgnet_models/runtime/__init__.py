"""How a network is computed, never what: each file takes a finished network. Here networks get their methods of this kind."""

from mgnet_models.mgnet.model import MgNet
from mgnet_models.nn.classifier import GridFeatures, Network
from mgnet_models.runtime.recompute import set_grad_checkpointing, set_recompute
from mgnet_models.runtime.scripting import traced

MgNet.set_recompute = set_recompute
Network.set_grad_checkpointing = set_grad_checkpointing
for _scriptable in (Network, GridFeatures):
    _scriptable.__prepare_scriptable__ = traced
