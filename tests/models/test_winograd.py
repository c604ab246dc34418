"""The short convolution equals the direct one: exactly where its arithmetic is exact, within a derived bound elsewhere."""

import contextlib
import copy
import io
import sys

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mgnet_models import ShortConvolutions
from mgnet_models.runtime import winograd, winograd_in_c, winograd_in_torch, winograd_layer
from mgnet_models.runtime.winograd import convolve, kernel_gradient, transform_kernels
from mgnet_models.runtime.winograd_layer import WinogradConv2d

SIDES = st.integers(1, 11)
COUNTS = st.integers(1, 5)
SIXTEENS = st.integers(1, 9).map(lambda n: 16 * n)
needs_c = pytest.mark.skipif(winograd_in_c.why_not() is not None, reason=str(winograd_in_c.why_not()))
ROUNDING = 50 * 2.0**-24


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def relative_error(seen, wanted):
    return (seen - wanted).norm() / wanted.norm()


@pytest.fixture(params=["in C", "in torch"])
def way(request, monkeypatch):
    """Both ways of the arithmetic, the second as on a machine without a C compiler."""
    if request.param == "in torch":
        monkeypatch.setattr(winograd_in_c, "serves", lambda *_: False)
        monkeypatch.setattr(winograd, "_LEAST_CHANNELS_IN_TORCH", {torch.float32: 128, torch.float64: 128})
        monkeypatch.setattr(winograd, "_LEAST_TILES_IN_TORCH", 32)
    elif winograd_in_c.why_not() is not None:
        pytest.skip(winograd_in_c.why_not())
    return request.param


@st.composite
def integer_cases(draw, channels):
    """Kernels of multiples of 576, whose transforms are integers, and images of small integers."""
    images, c_in, c_out, h, w = (draw(values) for values in (COUNTS, channels, channels, SIDES, SIDES))
    generator = seeded(draw(st.integers(0, 2**31)))
    x = torch.randint(-2, 3, (images, c_in, h, w), generator=generator).float()
    weight = 576.0 * torch.randint(-1, 2, (c_out, c_in, 3, 3), generator=generator)
    bias = torch.randint(-9, 10, (c_out,), generator=generator).float()
    addend = torch.randint(-9, 10, (images, c_out, h, w), generator=generator).float()
    return x, weight, draw(st.sampled_from([bias, None])), draw(st.sampled_from([addend, None]))


def kernels_derivative(x, g, weight):
    return torch.ops.aten.convolution_backward(g, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False])[
        1
    ]


def integer_derivative(x, weight):
    """Some integers for the derivative of the result, of multiples that the transforms of its place ask for."""
    return 576 * x.sum(1, keepdim=True).expand(-1, len(weight), -1, -1) + 576 * (torch.arange(len(weight)) % 5)[:, None, None]


@given(integer_cases(COUNTS), st.integers(1, 400))
def test_with_integers_not_a_bit_differs_in_torch_whatever_the_chunks(case, chunk):
    x, weight, bias, addend = case
    wanted = F.conv2d(x, weight, bias, padding=1) + (0 if addend is None else addend)
    g = integer_derivative(x, weight)
    before, winograd_in_torch._CHUNK = winograd_in_torch._CHUNK, chunk
    try:
        kernels = winograd_in_torch.transform_kernels(weight)
        assert torch.equal(winograd_in_torch.convolve(x, kernels, bias=bias, addend=addend), wanted)
        assert torch.equal(winograd_in_torch.kernel_gradient(x, g), kernels_derivative(x, g, weight))
    finally:
        winograd_in_torch._CHUNK = before


@needs_c
@given(integer_cases(SIXTEENS), st.integers(1, 60), st.sampled_from([1, 2, 3]), st.booleans(), st.booleans())
def test_with_integers_not_a_bit_differs_in_c_whatever_the_blocks_and_threads(case, block, threads, apart, channels_last):
    x, weight, bias, addend = case
    if channels_last:
        x, weight = (it.contiguous(memory_format=torch.channels_last) for it in (x, weight))
    wanted = F.conv2d(x, weight, bias, padding=1) + (0 if addend is None else addend)
    g = integer_derivative(x, weight)
    names = ("_TILES_OF_ONE", "_TILES_OF_ALL", "_SUMS_OF_ONE")
    before, threads_before = [getattr(winograd_in_c, name) for name in names], torch.get_num_threads()
    try:
        for name, value in zip(names, (block, 3 * block, sys.maxsize if apart else 0)):
            setattr(winograd_in_c, name, value)
        torch.set_num_threads(threads)
        kernels = transform_kernels(weight)
        assert kernels.in_c
        assert torch.equal(convolve(x, kernels, bias=bias, addend=addend), wanted)
        assert torch.equal(kernel_gradient(x, g), kernels_derivative(x, g, weight))
    finally:
        for name, value in zip(names, before):
            setattr(winograd_in_c, name, value)
        torch.set_num_threads(threads_before)


@needs_c
@pytest.mark.parametrize("channels", [(16, 80), (64, 64), (160, 32), (192, 208)])
def test_in_c_the_same_threads_give_the_same_bits_and_results_do_not_depend_on_their_number(channels):
    c_in, c_out = channels
    x, g = (torch.randn(6, c, 18, 21, generator=seeded(c)) for c in channels)
    weight = torch.randn(c_out, c_in, 3, 3, generator=seeded(1))
    threads, results, gradients = torch.get_num_threads(), [], {1: [], 2: [], 5: []}
    try:
        for count in (1, 2, 5, 1, 2, 5, 2):
            torch.set_num_threads(count)
            results.append(convolve(x, transform_kernels(weight)))
            gradients[count].append(kernel_gradient(x, g))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(y, results[0]) for y in results)
    for same in gradients.values():
        assert all(torch.equal(gradient, same[0]) for gradient in same)
    if c_in * c_out > 170**2:  # one sum for all threads
        assert torch.equal(gradients[1][0], gradients[5][0])


def absolute(weight, x):
    """The short convolution with the absolute values of all that it adds and multiplies, in float64."""
    p, s = (torch.tensor(matrix, dtype=torch.float64).abs() for matrix in (winograd_in_torch._P, winograd_in_torch._S))
    kernels = winograd_in_torch.transform_kernels(weight.double()).abs()
    h, w = x.shape[2:]
    padded = F.pad(x.double().abs(), (1, 1 + -w % 4, 1, 1 + -h % 4)).unfold(2, 6, 4).unfold(3, 6, 4)
    d = torch.einsum("pi,bcrsij,qj->pqbrsc", p, padded, p)
    products = torch.einsum("nbrsc,nco->nbrso", d.flatten(0, 1), kernels).unflatten(0, (6, 6))
    return torch.einsum("ip,pqbrso,jq->borisj", s, products, s).flatten(4, 5).flatten(2, 3)[..., :h, :w]


@given(st.integers(0, 2**31), st.sampled_from([1, 7, 16, 64]), SIDES, SIDES)
def test_the_error_stays_below_the_bound_of_its_sums(seed, channels, h, w):
    """|error| <= gamma_n times the sum of absolute values, gamma_n = n u / (1 - n u), u = 2^-24 (Higham, section 3.1).

    n counts the roundings that a number meets in a row: 6 terms for each of four transforms (a product and a sum each), for
    the kernel one, or in C three terms for each of two transforms and a division, and the sum over the channels.
    """
    x = torch.randn(2, channels, h, w, generator=seeded(seed))
    weight = torch.randn(16, channels, 3, 3, generator=seeded(seed + 1))
    n = 4 * 6 + 2 * 3 + 1 + channels
    gamma = n * 2.0**-24 / (1 - n * 2.0**-24)
    error = (convolve(x, transform_kernels(weight)).double() - F.conv2d(x.double(), weight.double(), padding=1)).abs()
    assert torch.all(error <= gamma * absolute(weight, x))


def test_it_is_not_much_worse_than_the_direct_convolution(way):
    x, weight = torch.randn(4, 256, 16, 16, generator=seeded(0)), torch.randn(256, 256, 3, 3, generator=seeded(1)) / 48
    right = F.conv2d(x.double(), weight.double(), padding=1)
    assert relative_error(convolve(x, transform_kernels(weight)).double(), right) <= ROUNDING


def test_the_kernels_derivative_is_not_much_worse_than_the_direct_one(way):
    x, g = torch.randn(2, 16, 64, 16, 16, generator=seeded(0))
    weight = torch.randn(64, 64, 3, 3)
    right = kernels_derivative(x.double(), g.double(), weight.double())
    assert relative_error(kernel_gradient(x, g).double(), right) <= ROUNDING


def wide(channels=128, bias=True):
    """A convolution that takes the short way at 16x16."""
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=bias).requires_grad_(False)
    return convolution, WinogradConv2d(copy.deepcopy(convolution))


def takes_the_short_way(module, x, monkeypatch):
    taken = []
    monkeypatch.setattr(winograd_layer, "convolve", lambda *a, **k: taken.append(1) or convolve(*a, **k))
    return module(x), bool(taken)


@pytest.mark.parametrize("bias", [True, False])
def test_a_wide_convolution_takes_the_short_way(bias, way, monkeypatch):
    convolution, short = wide(bias=bias)
    x = torch.randn(4, 128, 16, 16)
    y, taken = takes_the_short_way(short, x, monkeypatch)
    assert taken
    assert relative_error(y, convolution(x)) <= ROUNDING
    assert relative_error(short(x, x), convolution(x) + x) <= ROUNDING


@needs_c
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_autocast_and_bfloat16_take_the_short_way_too(stored, monkeypatch):
    convolution, short = wide()
    convolution, short, x = convolution.to(stored), short.to(stored), torch.randn(4, 128, 16, 16).to(stored)
    right = convolution.float()(x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=stored == torch.float32):
        y, taken = takes_the_short_way(short, x, monkeypatch)
        added = short(x, x)
    assert taken
    assert y.dtype == added.dtype == torch.bfloat16
    assert relative_error(y.float(), right) <= 2**-8
    assert relative_error(added.float(), right + x.float()) <= 2**-8


@pytest.mark.parametrize("case", ["small", "float16", "gradient", "autocast to float16", "few images"])
def test_what_the_short_way_does_not_serve_goes_the_direct_way(case, way, monkeypatch):
    convolution, short = wide()
    x = torch.randn(4, 128, 16, 16)
    if case == "small":
        x = x[..., :7, :8]
    if case == "few images":
        x = x[:1]
    if case == "float16":
        convolution, short, x = convolution.half(), short.half(), x.half()
    x.requires_grad_(case == "gradient")
    with torch.autocast("cpu", dtype=torch.float16, enabled=case == "autocast to float16"):
        y, taken = takes_the_short_way(short, x, monkeypatch)
        assert torch.equal(y, convolution(x))
        assert not taken


def test_gradients_are_those_of_the_direct_way(way):
    convolution, short = wide()
    x, addend = torch.randn(2, 4, 128, 16, 16, requires_grad=True).unbind()
    mine = torch.autograd.grad(short(x, addend).square().sum(), [x, addend])
    theirs = torch.autograd.grad((convolution(x) + addend).square().sum(), [x, addend])
    for one, other in zip(mine, theirs):
        assert torch.equal(one, other)


@pytest.mark.parametrize("change", ["load", "to and back"])
def test_new_weights_are_noticed(change, way):
    convolution, short = wide()
    x = torch.randn(4, 128, 16, 16)
    short(x)
    if change == "load":
        convolution.load_state_dict({name: 2 * value for name, value in convolution.state_dict().items()})
        short.load_state_dict(convolution.state_dict())
    else:
        convolution, short = convolution.bfloat16().float(), short.bfloat16().float()
    assert relative_error(short(x), convolution(x)) <= ROUNDING


def test_the_transformed_kernels_are_not_saved(way):
    _, short = wide()
    empty = io.BytesIO()
    torch.save(short, empty)
    short(torch.randn(4, 128, 16, 16))
    used = io.BytesIO()
    torch.save(short, used)
    assert used.tell() == empty.tell()
    assert set(short.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"padding": 0}, {"groups": 2}, {"dilation": 2}, {"padding_mode": "circular"}, {"kernel_size": 5}]
)
def test_other_geometries_are_refused(options):
    with pytest.raises(ValueError, match="has no short way: it needs 3x3, stride 1"):
        WinogradConv2d(nn.Conv2d(4, 4, **({"kernel_size": 3, "padding": 1} | options)))


class Network(nn.Sequential):
    """Convolutions that take the short way and some that do not, with and without bias."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(128, 128, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(128, 144, 3, padding=1, bias=False),
            nn.Conv2d(144, 4, 3, padding=1),
            nn.Conv2d(4, 128, 3, stride=2, padding=1),
        )


def test_in_training_outputs_and_gradients_differ_by_rounding_only(way):
    torch.manual_seed(0)
    network, x = Network(), torch.randn(4, 128, 16, 16, requires_grad=True)
    leaves = [x, *network.parameters()]
    direct = network(x)
    with ShortConvolutions():
        short = network(x)
    assert not torch.equal(short, direct)
    assert relative_error(short, direct) <= ROUNDING
    # One ReLU that rounding switches changes a derivative by more than rounding, but only where its neighbours are.
    for mine, theirs in zip(*(torch.autograd.grad(y.square().sum(), leaves) for y in (short, direct))):
        assert relative_error(mine, theirs) <= 20 * ROUNDING


def test_in_training_the_short_way_is_taken_by_the_wide_convolutions_alone(way):
    network, x = Network(), torch.randn(4, 128, 16, 16)
    with ShortConvolutions():
        y = network(x)
    nodes, names = [y.grad_fn], []
    while nodes:
        node = nodes.pop()
        names.append(node.name())
        nodes += [before for before, _ in node.next_functions if before is not None]
    assert names.count("_ShortConvolutionBackward") == 2
    assert sum("ConvolutionBackward" in name for name in names) == 4


def test_the_context_ends():
    network, x = Network(), torch.randn(4, 128, 16, 16)
    before = network(x)
    with ShortConvolutions():
        pass
    assert torch.equal(network(x), before)


@needs_c
def test_the_c_code_serves_narrower_convolutions_than_torch_does(monkeypatch):
    x, weight = torch.randn(4, 48, 16, 16), torch.randn(64, 48, 3, 3)
    assert winograd.pays(x, weight, torch.float32)
    assert not winograd.pays(x, weight, torch.float64)
    assert not winograd.pays(x, weight, torch.bfloat16)
    assert not winograd.pays(x[:, :40], weight[:, :40], torch.float32)
    assert not winograd.pays(x[:, :32], weight[:, :32], torch.float32)
    monkeypatch.setattr(winograd_in_c, "serves", lambda *_: False)
    assert not winograd.pays(x, weight, torch.float32)
    wide_weight = torch.randn(256, 256, 3, 3)
    assert winograd.pays(torch.zeros(32, 256, 16, 16), wide_weight, torch.float32)
    assert not winograd.pays(torch.zeros(31, 256, 16, 16), wide_weight, torch.float32)


@needs_c
@given(st.integers(0, 2**31), SIXTEENS, SIDES, SIDES)
def test_bfloat16_images_round_once_more(seed, channels, h, w):
    """They are computed in float32: the same numbers give the same results but for the last rounding, ties to even."""
    generator = seeded(seed)
    x, g, addend = (torch.randn(2, channels, h, w, generator=generator).bfloat16() for _ in range(3))
    weight, bias = torch.randn(channels, channels, 3, 3, generator=generator).bfloat16(), torch.ones(channels).bfloat16()
    kernels = transform_kernels(weight)
    wanted = convolve(x.float(), transform_kernels(weight.float()), bias=bias.float(), addend=addend.float())
    assert torch.equal(convolve(x, kernels, bias=bias, addend=addend), wanted.bfloat16())
    assert torch.equal(kernel_gradient(x, g), kernel_gradient(x.float(), g.float()).bfloat16())


@needs_c
def test_bfloat16_keeps_what_is_no_number():
    x = torch.zeros(1, 16, 4, 4).bfloat16()
    x[0, 0, 0, 0] = torch.nan
    weight = torch.zeros(16, 16, 3, 3).bfloat16()
    weight[:, :, 1, 1] = 1
    assert convolve(x, transform_kernels(weight))[0, 0, 0, 0].isnan()


@needs_c
@pytest.mark.parametrize("lean", [False, True])
def test_under_autocast_training_differs_by_the_rounding_of_bfloat16_only(lean):
    torch.manual_seed(0)
    model = timm.create_model("mgnet", notation="MgNet[2,2]-[64]-B^l", num_classes=3).to(memory_format=torch.channels_last)
    x = torch.randn(16, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    model.set_memory_mode("lean" if lean else "default")

    def trained(*contexts):
        model.zero_grad(set_to_none=True)
        with contextlib.ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context)
            y = model.train()(x)
        y.float().square().sum().backward()
        return [y, *(parameter.grad for parameter in model.parameters())]

    right = trained()
    autocast = torch.autocast("cpu", dtype=torch.bfloat16)
    direct, short = trained(autocast), trained(autocast, ShortConvolutions())
    assert [it.dtype for it in short] == [it.dtype for it in direct]
    assert not torch.equal(short[0], direct[0])
    for wanted, one, other in zip(right, direct, short):
        assert relative_error(other.float(), wanted) <= 2 * relative_error(one.float(), wanted) + 2**-9


@needs_c
@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"x": torch.zeros(2, 32, 4, 4)}, "x of shape"),
        ({"x": torch.zeros(2, 16, 4, 4).double()}, "float64"),
        ({"bias": torch.zeros(3)}, "bias of shape"),
        ({"addend": torch.zeros(2, 16, 4, 5)}, "addend of shape"),
    ],
)
def test_what_does_not_fit_the_c_code_is_refused_before_it_runs(change, place):
    given = {"x": torch.zeros(2, 16, 4, 4), "bias": torch.zeros(16), "addend": torch.zeros(2, 16, 4, 4)} | change
    with pytest.raises(RuntimeError, match=place):
        convolve(given.pop("x"), transform_kernels(torch.zeros(16, 16, 3, 3)), **given)


@needs_c
def test_a_derivative_that_does_not_fit_is_refused():
    with pytest.raises(RuntimeError, match="derivative of shape"):
        kernel_gradient(torch.zeros(2, 16, 4, 4), torch.zeros(2, 16, 4, 3))


@needs_c
def test_checkpointed_activations_are_recomputed_on_the_way_of_the_first_pass():
    torch.manual_seed(0)
    model = timm.create_model("mgnet", notation="MgNet[2,2]-[128]-B^l", num_classes=3).to(memory_format=torch.channels_last).train()
    x = torch.randn(4, 3, 16, 16).contiguous(memory_format=torch.channels_last)

    def trained(checkpointed):
        model.set_grad_checkpointing(checkpointed)
        model.zero_grad(set_to_none=True)
        with ShortConvolutions():
            y = model(x)
        y.square().sum().backward()
        return [y, *(parameter.grad for parameter in model.parameters())]

    for plain, again in zip(trained(False), trained(True)):
        assert torch.equal(plain, again)
