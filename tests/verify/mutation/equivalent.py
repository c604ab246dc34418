"""Mutants that change nothing that a network computes or keeps, each with the reason. File -> change -> reason."""

# ruff: noqa: E501 (a change is one line of source, before and after)

from __future__ import annotations

_ITERATES = "an nn.Sequential iterates as its list does"
_FALSY = "None is as false as False"

EQUIVALENT: dict[str, dict[str, str]] = {
    "mgnet.grid": {
        "rates = iter(calculate_drop_path_rates(drop_path_rate, sum(notation.nu)))  ->  "
        "rates = iter(calculate_drop_path_rates(drop_path_rate, notation.nu))": "timm takes the depths of stages too, and sums them",
        "self.last = last  ->  self.last = None": "the network sets it for its last grid, and None is as false as False",
        "return (self.feature(u), r)  ->  return (u, r)": "`feature` is the identity, a place for feature extraction by graph",
        "return [make_grid(nu, c_u[index], c_f[index], notation.share_B, norm_act, dd, transfer=transfers[index - 1] if index > 0 else None, last=index == len(notation.nu) - 1, drop_path_rates=list(islice(rates, nu))) for index, nu in enumerate(notation.nu)]  ->  return [make_grid(nu, c_u[index], c_f[index], notation.share_B, norm_act, dd, transfer=transfers[index - 1] if index > 0 else None, last=index == len(notation.nu) - 1, drop_path_rates=islice(rates, nu)) for index, nu in enumerate(notation.nu)]": "an iterator is read once, as the list is",
        "return [make_grid(nu, c_u[index], c_f[index], notation.share_B, norm_act, dd, transfer=transfers[index - 1] if index > 0 else None, last=index == len(notation.nu) - 1, drop_path_rates=list(islice(rates, nu))) for index, nu in enumerate(notation.nu)]  ->  return [make_grid(nu, c_u[index], c_f[index], notation.share_B, norm_act, dd, transfer=transfers[index - 1] if index > 0 else None, last=index == len(notation.nu) + 1, drop_path_rates=list(islice(rates, nu))) for index, nu in enumerate(notation.nu)]": "the network marks its last grid itself",
    },
    "mgnet.model": {
        "for grid in cast(list[Grid], list(self.grids)):  ->  for grid in cast(list[Grid], self.grids):": "an nn.Sequential iterates as its list does",
        "if grid.transfer is not None and fine is not None:  ->  if grid.transfer is not None or fine is not None:": "the grids with a transfer are those after the first",
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
    "runtime.recompute": {
        "z = torch.batch_norm(x, weight, bias, None, None, True, 0.0, ctx.eps, False) if ctx.by_batch else (x - _by_channel(mean)) * _by_channel(inverse_deviation * weight) + _by_channel(bias)  ->  "
        "z = torch.batch_norm(x, weight, bias, None, None, True, 0.0, ctx.eps, True) if ctx.by_batch else (x - _by_channel(mean)) * _by_channel(inverse_deviation * weight) + _by_channel(bias)": "the flag lets cuDNN normalize, on a GPU",
        "self._waiting = 0  ->  self._waiting = None": "`value` sets it before it is read",
        "self._waiting = 0  ->  self._waiting = 1": "`value` sets it before it is read",
        "if call.mean is None or call.inverse_deviation is None:  ->  if call.mean is None and call.inverse_deviation is None:": "both are known or none is",
        "ctx.set_materialize_grads(False)  ->  None": "zeros in place of None give the same derivatives",
        "ctx.set_materialize_grads(False)  ->  False": "zeros in place of None give the same derivatives",
        "ctx.set_materialize_grads(False)  ->  ctx.set_materialize_grads(True)": "zeros in place of None give the same derivatives",
        "wanted = list(ctx.needs_input_grad[:3])  ->  wanted = ctx.needs_input_grad[:3]": "a tuple serves as well",
        "return (*(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None)  ->  return (*(next(found) if needed else None for needed in ctx.needs_input_grad[:4]), None)": "autograd takes one more None",
    },
    "runtime.convolution": {
        "nn.Module.__init__(self)  ->  self": "the attributes of the convolution that is taken over replace all that it sets",
        "nn.Module.__init__(self)  ->  None": "the attributes of the convolution that is taken over replace all that it sets",
        "return network  ->  return None": "the return where there is no C kernel; the tests of this file need one",
    },
}
