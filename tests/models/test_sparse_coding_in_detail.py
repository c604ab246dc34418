"""Dictionaries of any stride, and the values with which steps, thresholds and dictionaries start."""

import pytest
import torch
from torch import nn

from mgnet_models import Dictionary, MlCsc, MsdCsc, ResCsc
from mgnet_models.families.rescsc import ResCscBlock, Threshold
from mgnet_models.families.sparse_coding import CodingLayer, check_unfold
from mgnet_models.nn.layers import conv
from mgnet_models.notation import MAX_ITERATIONS


@pytest.mark.parametrize("kernel, stride", [(3, 1), (4, 2), (2, 2), (3, 3), (4, 3), (5, 3), (7, 4)])
@pytest.mark.parametrize("size", [(9, 7), (8, 10)])
def test_synthesis_is_the_adjoint_of_analysis_for_every_stride_and_size(kernel: int, stride: int, size: tuple[int, int]) -> None:
    D = Dictionary(2, 3, {"dtype": torch.float64}, std=0.3, kernel=kernel, stride=stride)
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    code = D.analysis(x)
    z = torch.randn_like(code)
    rebuilt = D.synthesis(z, x)
    assert rebuilt.shape == x.shape
    torch.testing.assert_close((code * z).sum(), (x * rebuilt).sum())


def test_the_filters_start_with_the_stated_deviation() -> None:
    torch.manual_seed(0)
    D = Dictionary(20, 30, {}, std=0.3)
    assert D.weight.std().item() == pytest.approx(0.3, rel=0.05)
    block = ResCscBlock(32, 32, 1, nn.BatchNorm2d, nn.ReLU, {}, corrects=True, step=1.0)
    assert block.D2.weight.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)
    (coding, *_) = MlCsc(coding=(32,), plain=((4,),), in_chans=32).grids[0][0].layers
    assert coding.D.weight.std().item() == pytest.approx(0.1 / (16 * 32) ** 0.5, rel=0.05)
    (layer, *_) = MsdCsc(blocks=1, layers=1, growth=32, stem_channels=32).grids[0].layers
    assert layer.D.weight.std().item() == pytest.approx(0.1 / (9 * 32) ** 0.5, rel=0.05)


@pytest.mark.parametrize("normalize, step", [(True, 1.0), (False, 1 / 8)])
def test_a_step_starts_at_one_with_a_normalization_and_at_an_eighth_without(normalize: bool, step: float) -> None:
    model = ResCsc((1, 1), (3, 4), normalize=normalize, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(7)
    model.init_weights()
    blocks = [module for module in model.modules() if isinstance(module, ResCscBlock)]
    assert [block.c.item() for block in blocks] == [step, step]
    thresholds = [module for module in model.modules() if isinstance(module, Threshold)]
    assert len(thresholds) == (0 if normalize else 5)  # of the stem and two of each block
    assert all((threshold.b == 0).all() for threshold in thresholds)


def test_a_coding_layer_starts_again_without_threshold_and_with_unit_step_and_gain() -> None:
    layer = CodingLayer(Dictionary(2, 3, {}, std=0.1), 1, nn.ReLU, {}, norm=nn.BatchNorm2d)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(7)
    layer.reset_parameters()
    assert layer.gain is not None
    assert [layer.c.tolist(), layer.b.tolist(), layer.gain.tolist()] == [[1.0], [0.0] * 3, [1.0] * 3]
    assert len(layer.norms) == 2  # the first step and one unfolding


def test_numbers_of_steps_and_sizes_beyond_all_use_are_named() -> None:
    check_unfold(0)
    check_unfold(MAX_ITERATIONS)
    for wrong in (-1, MAX_ITERATIONS + 1):
        with pytest.raises(ValueError, match=f"^unfold={wrong} is no number of steps: use 0 for the feed-forward network"):
            check_unfold(wrong)
    with pytest.raises(ValueError, match=r"^unfold=1\.5 is no whole number$"):
        check_unfold(1.5)
    with pytest.raises(ValueError, match=r"^a dictionary of 65536 x 65536 x 3 x 3 has more than"):
        Dictionary(65536, 65536, {"device": "meta"}, std=0.1)
    with pytest.raises(ValueError, match=r"^a convolution of 65536 x 65536 x 3 x 3 has more than"):
        conv(65536, 65536, kernel=3, dd={"device": "meta"})
    with pytest.raises(ValueError, match=r"^stride=2 with an identity block"):
        Dictionary(2, 3, {}, std=0.1, stride=2, identity=True)


def test_the_block_that_does_not_correct_is_variant_b() -> None:
    for variant, corrects in (("A", True), ("B", False)):
        model = ResCsc((1, 1), (3, 4), variant=variant)  # type: ignore[arg-type]
        assert [module.corrects for module in model.modules() if isinstance(module, ResCscBlock)] == [corrects] * 2


def test_a_block_with_more_channels_starts_at_the_subsampled_image_padded_with_zeros() -> None:
    block = ResCscBlock(2, 5, 2, nn.BatchNorm2d, nn.ReLU, {}, corrects=True, step=1.0)
    u = torch.randn(1, 2, 5, 4)
    start = block.skip(u)
    assert torch.equal(start[:, :2], u[:, :, ::2, ::2])
    assert start.shape == (1, 5, 3, 2)
    assert (start[:, 2:] == 0).all()
    same = ResCscBlock(2, 2, 1, nn.BatchNorm2d, nn.ReLU, {}, corrects=True, step=1.0)
    assert torch.equal(same.skip(u), u)
