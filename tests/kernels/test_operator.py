"""torch.ops.mgnet.conv3x3 behaves as an operator of PyTorch: derivatives, autocast, compilation, export, transforms, threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from kernels.cases import (
    EAGER,
    NEVER,
    ROUNDING,
    Case,
    direct_gradients,
    integer_cases,
    needs_c,
    random_case,
    relative_error,
    threads,
)
from mgnet_kernels import DEFAULT_POLICY, Policy, conv3x3, pays

ROUTES = {"C kernel": EAGER, "aten": NEVER}
each_route = pytest.mark.parametrize("policy", [pytest.param(EAGER, marks=needs_c, id="C kernel"), pytest.param(NEVER, id="aten")])
OPS = torch.ops.mgnet


def small(dtype: torch.dtype = torch.float32, seed: int = 0) -> Case:
    return random_case(2, 16, 32, 5, 6, dtype=dtype, seed=seed)


def leaves(case: Case) -> list[Tensor]:
    """x, weight, bias and addend, which require gradients."""
    assert case.bias is not None
    assert case.addend is not None
    return [it.detach().clone().requires_grad_() for it in (case.x, case.weight, case.bias, case.addend)]


def direct(x: Tensor, weight: Tensor, bias: Tensor, addend: Tensor) -> Tensor:
    return torch.conv2d(x, weight, bias, padding=1) + addend


# ---- routes and results ----


@each_route
@given(case=integer_cases(st.integers(1, 3).map(lambda n: 16 * n)))
def test_both_routes_are_exact_on_integers_and_channels_last(policy: Policy, case: Case) -> None:
    arguments = policy.as_arguments()
    of_x, of_weight = case.direct_gradients()
    for seen, wanted in (
        (OPS.conv3x3(case.x, case.weight, case.bias, case.addend, **arguments), case.direct()),
        (OPS.conv3x3_grad_input(case.g, case.weight, **arguments), of_x),
        (OPS.conv3x3_grad_weight(case.g, case.x, **arguments), of_weight),
    ):
        assert torch.equal(seen, wanted)
        assert seen.stride() == torch.empty(wanted.shape, memory_format=torch.channels_last).stride()


@needs_c
def test_the_c_kernel_is_used_where_the_policy_allows_it_and_nowhere_else() -> None:
    def allowed(dtype: torch.dtype = torch.float32, c_in: int = 48, c_out: int = 64, side: int = 16) -> bool:
        return pays(torch.empty(2, c_in, side, side, dtype=dtype), torch.empty(c_out, c_in, 3, 3, dtype=dtype))

    assert allowed()
    assert allowed(torch.bfloat16, c_in=64, side=24)
    assert not allowed(torch.bfloat16, side=24)
    assert not allowed(torch.float64, c_in=64)
    assert not allowed(torch.float16, c_in=64)
    assert not allowed(c_in=32)
    assert not allowed(c_in=56)
    assert not allowed(c_out=56)
    assert not allowed(side=12)
    assert not allowed(torch.bfloat16, c_in=64)
    assert not pays(torch.empty(2, 64, 16, 16, device="meta"), torch.empty(64, 64, 3, 3, device="meta"))
    case = random_case(2, 48, 64, 16, 16)
    assert not torch.equal(conv3x3(case.x, case.weight), conv3x3(case.x, case.weight, policy=NEVER))
    assert torch.equal(conv3x3(case.x[:1], case.weight), conv3x3(case.x[:1], case.weight, policy=NEVER))


def test_no_images_give_no_images() -> None:
    assert conv3x3(torch.empty(0, 16, 4, 4), torch.empty(32, 16, 3, 3), policy=EAGER).shape == (0, 32, 4, 4)


CHANGES: list[tuple[dict[str, Tensor], str]] = [
    ({"x": torch.zeros(2, 32, 4, 4)}, r"x of shape \(2, 32, 4, 4\)"),
    ({"x": torch.zeros(16, 4, 4)}, "x of shape"),
    ({"x": torch.zeros(2, 16, 4, 4, dtype=torch.float64)}, "float64"),
    ({"x": torch.zeros(2, 16, 4, 4, device="meta")}, "meta"),
    ({"weight": torch.zeros(16, 16, 1, 1)}, "weight of shape"),
    ({"weight": torch.zeros(16, 16, 3, 3, dtype=torch.int64)}, "floating-point"),
    ({"bias": torch.zeros(3)}, "bias of shape"),
    ({"bias": torch.zeros(16, dtype=torch.bfloat16)}, "bfloat16"),
    ({"addend": torch.zeros(2, 16, 4, 5)}, "addend of shape"),
]


@each_route
@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_what_does_not_fit_is_refused_before_anything_runs(policy: Policy, change: dict[str, Tensor], message: str) -> None:
    arguments = {
        "x": torch.zeros(2, 16, 4, 4),
        "weight": torch.zeros(16, 16, 3, 3),
        "bias": torch.zeros(16),
        "addend": torch.zeros(2, 16, 4, 4),
    }
    with pytest.raises(RuntimeError, match=message):
        conv3x3(**arguments | change, policy=policy)


@each_route
def test_gradients_that_do_not_fit_are_refused(policy: Policy) -> None:
    with pytest.raises(RuntimeError, match="g of shape"):
        OPS.conv3x3_grad_weight(torch.zeros(2, 16, 4, 3), torch.zeros(2, 16, 4, 4), **policy.as_arguments())
    with pytest.raises(RuntimeError, match="g of shape"):
        OPS.conv3x3_grad_input(torch.zeros(2, 32, 4, 4), torch.zeros(16, 16, 3, 3), **policy.as_arguments())


@each_route
@pytest.mark.parametrize("default", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_nothing_depends_on_the_default_dtype(policy: Policy, default: torch.dtype) -> None:
    case = random_case(2, 64, 64, 9, 9)

    def gradients() -> list[Tensor]:
        inputs = leaves(case)
        y = conv3x3(*inputs, policy=policy)
        return [y, *torch.autograd.grad(y, inputs, case.g)]

    wanted = gradients()
    torch.set_default_dtype(default)
    try:
        seen = gradients()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(seen, wanted))


@each_route
def test_a_weight_that_changed_in_place_is_used_as_it_is_now(policy: Policy) -> None:
    layer = nn.Conv2d(16, 16, 3, padding=1).requires_grad_(False)
    x = torch.randn(1, 16, 8, 8)
    assert layer.bias is not None
    conv3x3(x, layer.weight, layer.bias, policy=policy)
    layer.weight.mul_(2)
    other = {"weight": torch.randn(16, 16, 3, 3), "bias": torch.zeros(16)}
    assert relative_error(conv3x3(x, layer.weight, layer.bias, policy=policy), layer(x)) <= ROUNDING
    assert relative_error(conv3x3(x, **other, policy=policy), torch.func.functional_call(layer, other, (x,))) <= ROUNDING


# ---- derivatives ----


@each_route
def test_gradients_are_those_of_the_direct_convolution(policy: Policy) -> None:
    case = random_case(4, 64, 48, 9, 10)
    seen = torch.autograd.grad(conv3x3(*(mine := leaves(case)), policy=policy), mine, case.g)
    wanted = torch.autograd.grad(direct(*(theirs := leaves(case))), theirs, case.g)
    for one, other in zip(seen, wanted):
        assert relative_error(one, other) <= ROUNDING


@each_route
@pytest.mark.parametrize("number", [2, 3])
def test_second_and_third_derivatives_are_those_of_the_direct_convolution(policy: Policy, number: int) -> None:
    case = small()

    def derivatives(function: Any) -> list[Tensor]:
        inputs = leaves(case)
        found: list[Tensor] = [function(*inputs)]
        for _ in range(number):
            found = list(torch.autograd.grad(sum((it.square().sum() for it in found), torch.zeros(())), inputs, create_graph=True))
        return found

    for one, other in zip(derivatives(lambda *inputs: conv3x3(*inputs, policy=policy)), derivatives(direct)):
        assert relative_error(one, other) <= 4 * ROUNDING


def test_gradients_and_second_derivatives_equal_finite_differences() -> None:
    case = random_case(1, 2, 3, 3, 4, dtype=torch.float64)
    inputs = tuple(leaves(case))
    assert torch.autograd.gradcheck(conv3x3, inputs, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(conv3x3, inputs)


@each_route
def test_a_result_may_be_changed_in_place_before_it_is_differentiated(policy: Policy) -> None:
    case = small()

    def derivatives(function: Any) -> list[Tensor]:
        inputs = leaves(case)
        first = torch.autograd.grad(function(*inputs).relu_(), inputs, case.g, create_graph=True)
        changed = [it.mul_(2) for it in first[:2]]  # the gradients of x and of the weight are results of operators too
        return [*changed, *torch.autograd.grad(changed[0].square().sum(), inputs[1])]

    for one, other in zip(derivatives(lambda *inputs: conv3x3(*inputs, policy=policy)), derivatives(direct)):
        assert relative_error(one, other) <= 4 * ROUNDING


@each_route
@pytest.mark.parametrize("which", range(4))
def test_only_the_gradients_that_are_asked_for_are_computed(policy: Policy, which: int) -> None:
    inputs = [it.requires_grad_(n == which) for n, it in enumerate(leaves(small()))]
    y = conv3x3(*inputs, policy=policy)
    saved = [it for it in y.grad_fn.saved_tensors if it is not None]  # type: ignore[union-attr]
    assert len(saved) == (1 if which < 2 else 0)
    y.sum().backward()
    assert [it.grad is not None for it in inputs] == [n == which for n in range(4)]


@each_route
@pytest.mark.parametrize("which", range(4))
def test_forward_mode_gives_the_tangent_of_each_input(policy: Policy, which: int) -> None:
    inputs = [it.detach() for it in leaves(small())]
    tangent = torch.randn_like(inputs[which])

    def along(function: Any) -> Tensor:
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(it, tangent) if n == which else it for n, it in enumerate(inputs)]
            found: Tensor = forward_ad.unpack_dual(function(*duals)).tangent
        return found

    seen = along(lambda *them: conv3x3(*them, policy=policy))
    assert relative_error(seen, along(direct)) <= ROUNDING


@each_route
def test_forward_mode_over_reverse_mode_gives_hessian_products(policy: Policy) -> None:
    inputs, tangent = leaves(small()), torch.randn(32, 16, 3, 3)

    def product(function: Any) -> list[Tensor]:
        with forward_ad.dual_level():
            x, weight, bias, addend = inputs
            found = torch.autograd.grad(
                function(x, forward_ad.make_dual(weight, tangent), bias, addend).square().sum(), inputs, create_graph=True
            )
            return [forward_ad.unpack_dual(it).tangent for it in found]

    for seen, wanted in zip(product(lambda *them: conv3x3(*them, policy=policy)), product(direct)):
        assert relative_error(seen, wanted) <= 2 * ROUNDING


@each_route
def test_the_transforms_of_torch_func_agree_with_the_direct_convolution(policy: Policy) -> None:
    x, weight, bias, addend = (it.detach() for it in leaves(small()))

    def loss(function: Any, w: Tensor, one: Tensor) -> Tensor:
        result: Tensor = function(one, w, bias, addend).square().sum()
        return result

    def all_transforms(function: Any) -> list[Tensor]:
        def of_weight(w: Tensor) -> Tensor:
            return loss(function, w, x)

        def of_sample(w: Tensor, one: Tensor) -> Tensor:
            return loss(function, w, one[None].expand(2, -1, -1, -1))

        return [
            torch.func.grad(of_weight)(weight),
            torch.func.jvp(of_weight, (weight,), (weight,))[1],
            torch.func.jvp(torch.func.grad(of_weight), (weight,), (weight,))[1],
            torch.vmap(lambda one: function(one[None], weight, bias, addend[:1]))(x),
            torch.vmap(lambda w: function(x, w, bias, addend))(torch.stack([weight, 2 * weight])),
            torch.vmap(torch.func.grad(of_sample), in_dims=(None, 0))(weight, x),
        ]

    for seen, wanted in zip(all_transforms(lambda *them: conv3x3(*them, policy=policy)), all_transforms(direct)):
        assert relative_error(seen, wanted) <= 2 * ROUNDING


# ---- what surrounds an operator ----


@needs_c
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_autocast_casts_as_for_a_direct_convolution(low: torch.dtype) -> None:
    case = small()
    with torch.autocast("cpu", dtype=low):
        inputs = leaves(case)
        y = conv3x3(*inputs, policy=EAGER)
        right = torch.conv2d(case.x, case.weight, case.bias, padding=1)
        assert conv3x3(case.x.double(), case.weight.double(), policy=EAGER).dtype == torch.float64
    assert case.addend is not None
    assert y.dtype == right.dtype == low
    assert relative_error(y.float(), right.float() + case.addend) <= 2**-7
    gradients = torch.autograd.grad(y, inputs, case.g.to(low))
    wanted = torch.autograd.grad(direct(*(theirs := leaves(case))), theirs, case.g)
    for seen, correct in zip(gradients, wanted):
        assert seen.dtype == torch.float32
        assert relative_error(seen, correct) <= 2**-6


@each_route
def test_checkpointing_recomputes_the_same_bits(policy: Policy) -> None:
    case = small()

    def chain(x: Tensor, weight: Tensor, bias: Tensor, addend: Tensor) -> Tensor:
        return conv3x3(torch.relu(x), weight, bias, addend, policy=policy).square()

    plain = torch.autograd.grad(chain(*(mine := leaves(case))), mine, case.g)
    again = torch.autograd.grad(checkpoint(chain, *(theirs := leaves(case)), use_reentrant=False), theirs, case.g)
    assert all(torch.equal(one, other) for one, other in zip(plain, again))


@each_route
def test_python_threads_do_not_disturb_each_other(policy: Policy) -> None:
    cases = [random_case(3, 32, 48, 9, 8, seed=seed) for seed in range(6)]

    def gradients(case: Case) -> list[Tensor]:
        torch.set_num_threads(2)
        inputs = leaves(case)
        y = conv3x3(*inputs, policy=policy)
        return [y, *torch.autograd.grad(y, inputs, case.g)]

    found: dict[int, list[list[Tensor]]] = {}
    with threads(2):
        wanted = [gradients(case) for case in cases]

        def work(number: int) -> None:
            found[number] = [gradients(cases[number]) for _ in range(5)]

        workers = [threading.Thread(target=work, args=(number,)) for number in range(len(cases))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for number, right in enumerate(wanted):
        assert all(torch.equal(one, other) for again in found[number] for one, other in zip(again, right))


def test_flops_are_those_of_the_direct_convolution() -> None:
    case = small()

    def count(function: Any) -> int:
        inputs = leaves(case)
        with FlopCounterMode(display=False) as counter:
            function(*inputs).sum().backward()
        return int(counter.get_total_flops())

    assert count(conv3x3) == count(direct) == 3 * 2 * 2 * 5 * 6 * 16 * 32 * 9


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # PyTorch's own, inside of opcheck
@each_route
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(policy: Policy, dtype: torch.dtype) -> None:
    case, arguments = small(dtype), policy.as_arguments()
    inputs = leaves(case)
    torch.library.opcheck(OPS.conv3x3.default, tuple(inputs), arguments, rtol=1e-4, atol=1e-4)
    torch.library.opcheck(OPS.conv3x3.default, tuple(inputs[:2]), rtol=1e-4, atol=1e-4)
    g = case.g.requires_grad_()
    torch.library.opcheck(OPS.conv3x3_grad_input.default, (g, inputs[1]), arguments, rtol=1e-4, atol=1e-4)
    torch.library.opcheck(OPS.conv3x3_grad_weight.default, (g, inputs[0]), arguments, rtol=1e-4, atol=1e-4)


@each_route
@given(case=integer_cases(st.sampled_from([1, 16])))
def test_meta_tensors_have_the_shape_and_strides_of_the_result(policy: Policy, case: Case) -> None:
    arguments = policy.as_arguments()
    for op, tensors in (
        (OPS.conv3x3, (case.x, case.weight, case.bias, case.addend)),
        (OPS.conv3x3_grad_input, (case.g, case.weight)),
        (OPS.conv3x3_grad_weight, (case.g, case.x)),
    ):
        real = op(*tensors, **arguments)
        meta = op(*(None if it is None else it.to("meta") for it in tensors), **arguments)
        assert (meta.shape, meta.stride(), meta.dtype) == (real.shape, real.stride(), real.dtype)


# ---- compilation, export, tracing ----


class Layer(nn.Conv2d):
    """A layer that calls the public function."""

    def __init__(self, policy: Policy = DEFAULT_POLICY) -> None:
        super().__init__(16, 16, 3, padding=1)
        self.policy = policy

    def forward(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        return conv3x3(torch.relu(x), self.weight, self.bias, addend, policy=self.policy)


@each_route
def test_compiled_as_one_graph_it_trains_as_uncompiled(policy: Policy) -> None:
    layer, x = Layer(policy), torch.randn(2, 16, 8, 8, requires_grad=True)
    inputs = [x, *layer.parameters()]
    targets: list[str] = []

    def backend(graph: torch.fx.GraphModule, examples: list[Tensor]) -> Any:
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    def gradients(run: Any) -> list[Tensor]:
        y = run(x, x).relu()
        return [y, *torch.autograd.grad(y.square().sum(), inputs)]

    wanted = gradients(layer)
    torch.compiler.reset()
    assert gradients(torch.compile(layer, fullgraph=True, backend=backend))
    assert any("mgnet.conv3x3" in target for target in targets)
    torch.compiler.reset()
    for seen, right in zip(gradients(torch.compile(layer, fullgraph=True, backend="aot_eager")), wanted):
        assert relative_error(seen, right) <= ROUNDING


@pytest.mark.nightly
@each_route
def test_inductor_trains_it_as_uncompiled(policy: Policy) -> None:
    layer, x = Layer(policy), torch.randn(2, 16, 8, 8, requires_grad=True)
    inputs = [x, *layer.parameters()]
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True)
    for shape in ((2, 16, 8, 8), (3, 16, 12, 8)):
        x = inputs[0] = torch.randn(shape, requires_grad=True)
        for seen, right in zip(*(torch.autograd.grad(run(x, x).square().sum(), inputs) for run in (compiled, layer))):
            assert relative_error(seen, right) <= ROUNDING


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_exported_graphs_hold_plain_convolutions(strict: bool, autocast: bool) -> None:
    layer, x = Layer(EAGER).eval(), torch.randn(2, 16, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        exported = torch.export.export(layer, (x, x), strict=strict)
        wanted = layer(x, x)
    assert "mgnet" not in exported.graph_module.code
    assert "conv2d" in exported.graph_module.code
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        seen = exported.module()(x, x)
    assert seen.dtype == wanted.dtype
    assert relative_error(seen.float(), wanted.float()) <= (2**-7 if autocast else ROUNDING)


def test_traced_graphs_hold_plain_convolutions() -> None:
    layer, x = Layer(EAGER).eval().requires_grad_(False), torch.randn(2, 16, 8, 8)
    traced = torch.jit.trace(layer, (x, x))
    symbolic = torch.fx.symbolic_trace(layer)
    assert "mgnet::" not in str(traced.inlined_graph)
    assert "_convolution" in str(traced.inlined_graph)
    assert "mgnet" not in symbolic.code
    assert "conv2d" in symbolic.code
    for run in (traced, symbolic):
        assert relative_error(run(x, x), layer(x, x)) <= ROUNDING


def test_the_gradient_operators_alone_are_the_direct_ones() -> None:
    case = random_case(2, 16, 16, 8, 8)
    of_x, of_weight = direct_gradients(case.g, case.x, case.weight)
    assert relative_error(OPS.conv3x3_grad_input(case.g, case.weight), of_x) <= ROUNDING
    assert relative_error(OPS.conv3x3_grad_weight(case.g, case.x), of_weight) <= ROUNDING


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_it_is_the_direct_convolution() -> None:
    case = random_case(2, 64, 64, 16, 16)
    inputs = [it.cuda().detach().requires_grad_() for it in leaves(case)]
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert conv3x3(*inputs).dtype == torch.bfloat16
    seen = torch.autograd.grad(y := conv3x3(*inputs), inputs, case.g.cuda())
    wanted = torch.autograd.grad(z := direct(*inputs), inputs, case.g.cuda())
    for mine, theirs in zip([y, *seen], [z, *wanted]):
        assert relative_error(mine, theirs) <= 1e-2  # TF32
