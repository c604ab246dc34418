"""Mutants that change nothing that a network computes or keeps, each with the reason. File -> change -> reason."""

from __future__ import annotations

_ITERATES = "an nn.Sequential iterates as its list does"
_FALSY = "None is as false as False"

EQUIVALENT: dict[str, dict[str, str]] = {
    "mgnet.grid": {
        "self.last = last  ->  self.last = None": "the network sets it for its last grid, and None is as false as False",
        "return (self.feature(u), r)  ->  return (u, r)": "`feature` is the identity, a place for feature extraction by graph",
    },
    "mgnet.duality": {
        "grid.last = False  ->  grid.last = None": _FALSY,
        "for grid in cast(list[Grid], list(mgnet.grids)):  ->  for grid in cast(list[Grid], mgnet.grids):": _ITERATES,
    },
    "runtime.folding": {
        "for grid in cast(list[Grid], list(folded.grids)):  ->  for grid in cast(list[Grid], folded.grids):": _ITERATES,
        "grid.share_B = False  ->  grid.share_B = None": _FALSY,
        "return nn.ReLU(inplace=True) if type(act) is nn.ReLU else copy.deepcopy(act)  ->  "
        "return nn.ReLU(inplace=False) if type(act) is nn.ReLU else copy.deepcopy(act)": "in place saves time and memory alone",
        "return nn.ReLU(inplace=True) if type(act) is nn.ReLU else copy.deepcopy(act)  ->  "
        "return nn.ReLU(inplace=True) if type(act) is nn.ReLU else act": "the network that is folded is a copy already",
        "return nn.ReLU(inplace=True) if type(act) is nn.ReLU else copy.deepcopy(act)  ->  "
        "return nn.ReLU(inplace=True) if act is nn.ReLU else copy.deepcopy(act)": "a copied ReLU computes the same",
    },
}
