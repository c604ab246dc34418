"""F(4x4, 3x3) in plain PyTorch, for reading and as the oracle of the tests; slower than a direct convolution.

Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, section 4. A 4x4 tile y of the output depends
on 6x6 inputs d. With the kernel g of one pair of channels,

    y = S [(Q g Q^T) . (P d P^T)] S^T

(in the paper Q is G, P is B^T, S is A^T). The product in the middle is entry by entry: 36 multiplications instead of 144.
With integer inputs and weights that are multiples of 576 all of it is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

P = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
Q_TIMES_24 = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))
S = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def conv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """The convolution with zero padding 1. x: (b, c_in, h, w), weight: (c_out, c_in, 3, 3), one floating-point dtype."""
    h, w = x.shape[2:]
    p, q, s = (torch.tensor(matrix, dtype=x.dtype, device=x.device) for matrix in (P, Q_TIMES_24, S))

    # 1. The weight: 24 Q g (24 Q)^T / 24^2 for each pair of channels o, i.
    transformed_weight = torch.einsum("am,oimn,bn->oiab", q, weight, q) / 576

    # 2. The input: 6x6 tiles that begin every 4 places, so that they overlap by 2; r and t count their rows and columns.
    padded = F.pad(x, (1, 1 + -w % 4, 1, 1 + -h % 4))
    tiles = padded.unfold(2, 6, 4).unfold(3, 6, 4)
    transformed_input = torch.einsum("am,zirtmn,bn->zirtab", p, tiles, p)

    # 3. The products, summed over the input channels, and back to 4x4 tiles of the output.
    products = torch.einsum("oiab,zirtab->zortab", transformed_weight, transformed_input)
    y = torch.einsum("ma,zortab,nb->zormtn", s, products, s)
    return y.flatten(4, 5).flatten(2, 3)[..., :h, :w]


def magnitude(x: Tensor, weight: Tensor) -> Tensor:
    """The same sum of products with the absolute value of each term: what rounding errors are proportional to."""
    h, w = x.shape[2:]
    p, q, s = (torch.tensor(matrix, dtype=x.dtype, device=x.device).abs() for matrix in (P, Q_TIMES_24, S))
    transformed_weight = torch.einsum("am,oimn,bn->oiab", q, weight.abs(), q) / 576
    padded = F.pad(x.abs(), (1, 1 + -w % 4, 1, 1 + -h % 4))
    transformed_input = torch.einsum("am,zirtmn,bn->zirtab", p, padded.unfold(2, 6, 4).unfold(3, 6, 4), p)
    products = torch.einsum("oiab,zirtab->zortab", transformed_weight, transformed_input)
    return torch.einsum("ma,zortab,nb->zormtn", s, products, s).flatten(4, 5).flatten(2, 3)[..., :h, :w]
