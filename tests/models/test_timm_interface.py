"""What timm's own models do, asked of one small network of each family with real numbers (see SMALL for the sample)."""

import copy
import inspect
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import onnxruntime
import pytest
import timm
import torch
from timm.layers import DropPath
from timm.utils import ModelEmaV3
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from mgnet_models.nn.classifier import Network
from models.small_networks import SMALL, build
from models.strategies import disturb_norms

FEATURE_CLASSES = ("list", "dict", "hook", "fx", "getter")


@pytest.fixture(params=sorted(SMALL))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def network(family: str) -> tuple[Network, Tensor]:
    model = build(family).eval()
    disturb_norms(model)
    return model, torch.randn(2, 3, 17, 22)


def test_all_feature_classes_agree_with_the_intermediates(family: str) -> None:
    x = torch.randn(2, 3, 17, 22)
    torch.manual_seed(0)
    whole = build(family).eval()
    expected = whole.forward_intermediates(x, intermediates_only=True)
    for feature_cls in FEATURE_CLASSES:
        torch.manual_seed(0)
        name, arguments = SMALL[family]
        wrapped = timm.create_model(name, **arguments, features_only=True, feature_cls=feature_cls).eval()
        wrapped.load_state_dict(_renamed(whole, wrapped), strict=False)
        features = wrapped(x)
        features = list(features.values()) if isinstance(features, dict) else features
        assert len(features) == len(expected), feature_cls
        for feature, wanted in zip(features, expected):
            torch.testing.assert_close(feature, wanted, rtol=1e-4, atol=1e-5, msg=feature_cls)


@pytest.mark.parametrize("indices", [(0, 1, 2, 3, 4, 5), (-7,), ("0",), (0.0,)], ids=str)
def test_a_grid_that_does_not_exist_is_no_feature(family: str, indices: tuple[object, ...]) -> None:
    name, arguments = SMALL[family]
    with pytest.raises(ValueError, match=r"out_indices=.*: there are \d grids, use 0 to \d") as error:
        timm.create_model(name, **arguments, features_only=True, out_indices=indices)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("stem, depth, first", [("cifar", 3, 0), ("imagenet", 5, 2)], ids=["small images", "ImageNet stem"])
def test_the_calls_of_a_segmentation_encoder_give_one_feature_for_each_halving(stem: str, depth: int, first: int) -> None:
    """What TimmUniversalEncoder of segmentation_models_pytorch asks at its deepest: reductions first, then the grids by number."""
    notation = "MgNet[1,1,1,1]-[4,5,6,7]-B^l"
    reductions = timm.create_model("mgnet", notation=notation, stem=stem, features_only=True).feature_info.reduction()
    assert reductions == [2 ** (index + first) for index in range(4)]
    indices = tuple(range(depth + 1)) if first == 0 else tuple(range(depth - 1))
    encoder = timm.create_model("mgnet", notation=notation, stem=stem, in_chans=2, features_only=True, out_indices=indices)
    features = encoder(torch.randn(2, 2, 64, 64))
    assert [64 // feature.shape[2] for feature in features] == reductions
    assert [feature.shape[1] for feature in features] == encoder.feature_info.channels()


def _renamed(whole: nn.Module, wrapped: nn.Module) -> dict[str, Tensor]:
    """The weights of the whole network under the names of the wrapped one, whichever way it was rewritten."""
    state = whole.state_dict()
    keys = {key: key.replace("grids_", "grids.").removeprefix("body.").removeprefix("model.") for key in wrapped.state_dict()}
    return {key: state[plain] for key, plain in keys.items() if plain in state}


def test_forward_is_features_then_head(network: tuple[Network, Tensor]) -> None:
    model, x = network
    features = model.forward_features(x)
    torch.testing.assert_close(model.forward_head(features), model(x))
    assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)


def test_pruning_keeps_the_intermediates(network: tuple[Network, Tensor]) -> None:
    model, x = network
    wanted = model.forward_intermediates(x, indices=[0], intermediates_only=True)
    assert model.prune_intermediate_layers([0]) == [0]
    torch.testing.assert_close(model.forward_intermediates(x, intermediates_only=True), wanted)
    with pytest.raises(ValueError, match="feature index 9 does not exist"):
        model.forward_intermediates(x, indices=[9])


def test_every_parameter_receives_a_gradient(network: tuple[Network, Tensor]) -> None:
    model, x = network
    model.train()(x).square().sum().backward()
    assert [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_dropout_and_drop_path_act_in_training_only(family: str) -> None:
    model = build(family, drop_rate=0.5).train()
    x = torch.randn(4, 3, 16, 16)
    assert not torch.equal(model(x), model(x))
    model.eval()
    torch.testing.assert_close(model(x), model(x), rtol=0, atol=0)


def test_pooling_can_be_chosen(family: str) -> None:
    x = torch.randn(2, 3, 16, 16)
    assert build(family, global_pool="max").eval()(x).shape == (2, 5)
    assert build(family, global_pool="").eval().forward_features(x).dim() == 4


def test_norm_and_activation_can_be_swapped(family: str) -> None:
    model = build(family, norm_layer="groupnorm1", act_layer="gelu")
    kinds = {type(module).__name__ for module in model.modules()}
    assert not any("BatchNorm" in kind or "ReLU" in kind for kind in kinds)
    assert model(torch.randn(2, 3, 16, 16)).isfinite().all()
    with pytest.raises(ValueError, match=r"norm_layer='no_such_norm' is unknown|No module named|no_such_norm"):
        build(family, norm_layer="no_such_norm")


def test_init_weights_restores_everything_after_the_meta_device(family: str) -> None:
    model = build(family, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(7 if not tensor.is_floating_point() else torch.nan)
    model.init_weights()
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert model.eval()(torch.randn(1, 3, 16, 16)).isfinite().all()
    fresh = build(family)
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in fresh.state_dict().items()}


def test_convolutions_start_with_the_variance_of_kaiming(family: str) -> None:
    for name, module in build(family).named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 1500:
            fan_out = module.weight.shape[0] * module.weight[0, 0].numel() // module.groups
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.15), name


def test_device_and_dtype_arguments_reach_every_tensor(family: str) -> None:
    model = build(family, dtype=torch.float64)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model(torch.randn(2, 3, 16, 16, dtype=torch.float64)).dtype == torch.float64
    assert {p.device.type for p in build(family, device="meta").parameters()} == {"meta"}


def test_channels_last_and_bfloat16_run(network: tuple[Network, Tensor]) -> None:
    model, x = network
    expected = model(x)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(x).dtype == torch.bfloat16
    assert copy.deepcopy(model).bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_torchscript_gives_the_same_and_leaves_the_model_alone(network: tuple[Network, Tensor]) -> None:
    model, x = network
    expected, keys = model(x), list(model.state_dict())
    torch.testing.assert_close(torch.jit.script(model)(x), expected, rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)


def test_a_scripted_network_still_tells_training_from_evaluation(network: tuple[Network, Tensor]) -> None:
    model, x = network
    scripted = torch.jit.script(copy.deepcopy(model))
    trained = copy.deepcopy(model).train()
    torch.testing.assert_close(scripted.train()(x), trained(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scripted.eval()(x), trained.eval()(x), rtol=1e-4, atol=1e-4)


def test_a_graph_of_fx_can_be_scripted_and_a_network_can_be_traced_by_torchscript(network: tuple[Network, Tensor]) -> None:
    model, x = network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the constructor of torch's GraphModule, and of deprecation
        torch.testing.assert_close(torch.jit.script(fx.symbolic_trace(model))(x), model(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.jit.trace(model, x)(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_pruned_network_has_no_parameter_without_gradient(network: tuple[Network, Tensor]) -> None:
    model, x = network
    model.prune_intermediate_layers([0])
    model.train().forward_features(x).square().sum().backward()
    assert [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("feature_cls", FEATURE_CLASSES)
def test_features_of_a_finer_grid_leave_no_parameter_without_gradient(family: str, feature_cls: str) -> None:
    """As torch's DistributedDataParallel demands, whatever timm's way of cutting; with one iteration a grid too."""
    name, arguments = SMALL[family]
    for changed in ({}, {"notation": "MgNet[1,1]-[4,6]-B^l"} if "notation" in arguments else {}):
        model = timm.create_model(name, **(arguments | changed), features_only=True, feature_cls=feature_cls, out_indices=(0,))
        features = model(torch.randn(2, 3, 17, 22))
        (feature,) = features.values() if isinstance(features, dict) else features
        feature.square().sum().backward()
        assert [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_torchscript_takes_features_too(family: str) -> None:
    name, arguments = SMALL[family]
    model, x = timm.create_model(name, **arguments, features_only=True).eval(), torch.randn(2, 3, 17, 22)
    expected, keys = model(x), list(model.state_dict())
    for feature, wanted in zip(torch.jit.script(model)(x), expected, strict=True):
        torch.testing.assert_close(feature, wanted, rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == keys


def test_fx_traces_a_graph_for_any_size(network: tuple[Network, Tensor]) -> None:
    model, x = network
    traced = fx.symbolic_trace(model)
    for image in (x, torch.randn(3, 3, 24, 9)):
        torch.testing.assert_close(traced(image), model(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [name for name in sorted(SMALL) if name.startswith("mgnet")])
def test_compile_needs_no_graph_break_in_either_mode(family: str) -> None:
    """The other families are compiled beside their own tests."""
    model, x = build(family), torch.randn(2, 3, 17, 22)
    for training in (False, True):
        model.train(training)
        torch._dynamo.reset()
        compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), copy.deepcopy(model)(x), rtol=1e-4, atol=1e-4)


def test_export_takes_any_batch_and_size(network: tuple[Network, Tensor]) -> None:
    model, x = network
    n, h, w = (torch.export.Dim(name, min=size, max=64) for name, size in (("n", 2), ("h", 16), ("w", 16)))
    program = torch.export.export(model, (x,), dynamic_shapes=({0: n, 2: h, 3: w},))
    for image in (x, torch.randn(5, 3, 32, 20)):
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # the exporter's own deprecations
def test_onnx_runtime_computes_the_same(network: tuple[Network, Tensor], tmp_path: Path) -> None:
    model, x = network
    path = tmp_path / "model.onnx"
    torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), model(x), rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore")  # the hub client's own deprecations
def test_saving_for_the_hub_and_loading_from_the_folder_gives_the_same(
    family: str, network: tuple[Network, Tensor], tmp_path: Path
) -> None:
    model, x = network
    name, kwargs = SMALL[family]
    timm.models.save_for_hf(model, tmp_path, model_args=kwargs, safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
    assert name in (tmp_path / "config.json").read_text()


def test_averaged_weights_are_exact(network: tuple[Network, Tensor]) -> None:
    model, _ = network
    ema = ModelEmaV3(model, decay=0.75)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    ema.update(model)
    for key, parameter in model.named_parameters():
        wanted = 0.75 * before[key] + 0.25 * parameter
        torch.testing.assert_close(ema.module.state_dict()[key], wanted, rtol=1e-6, atol=1e-6, msg=key)


def test_checkpointing_keeps_gradients_and_running_statistics(network: tuple[Network, Tensor]) -> None:
    model, x = network
    results = []
    for enable in (False, True):
        twin = copy.deepcopy(model).train()
        twin.set_grad_checkpointing(enable)
        twin(x).square().sum().backward()
        results.append(([p.grad for p in twin.parameters()], list(twin.buffers())))
    for plain, checkpointed in zip(*results):
        assert all(torch.equal(p, q) for p, q in zip(plain, checkpointed) if p is not None)


def test_counters_of_torch_and_fvcore_agree(network: tuple[Network, Tensor]) -> None:
    from fvcore.nn import FlopCountAnalysis, parameter_count

    model, x = network
    with FlopCounterMode(display=False) as counter:
        model(x)
    analysis = FlopCountAnalysis(model, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    by_operator = analysis.by_operator()
    assert 2 * (by_operator["conv"] + by_operator["linear"]) == counter.get_total_flops()
    assert parameter_count(model)[""] == sum(p.numel() for p in model.parameters())


_RANK = """
import os, sys, torch, torch.distributed as dist
torch.set_num_threads(1)
from torch.nn.parallel import DistributedDataParallel
sys.path.insert(0, sys.argv[1])
from mgnet_models.nn.classifier import Network
from models.small_networks import SMALL, build
dist.init_process_group("gloo", timeout=__import__("datetime").timedelta(seconds=60))
rank = dist.get_rank()
for family in sorted(SMALL):
    torch.manual_seed(0)
    model = build(family, dtype=torch.float64).eval()  # norms by running statistics, so that ranks do not differ by theirs
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    model(x).square().sum().backward()
    wanted = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    wrapped = DistributedDataParallel(model)
    for _ in range(2):  # an unused parameter is an error in the second step
        wrapped.zero_grad(set_to_none=True)
        (2 * wrapped(x[rank::2]).square().sum()).backward()
    for (key, p), grad in zip(model.named_parameters(), wanted):
        if grad is not None:
            torch.testing.assert_close(p.grad, grad, rtol=1e-9, atol=1e-9 * float(grad.abs().max()) + 1e-12, msg=family + " " + key)
print("gradients agree")
dist.destroy_process_group()
"""


def test_two_processes_compute_the_gradients_of_one_without_unused_parameters() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    tests = str(Path(__file__).parents[1])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _RANK, tests], env=env | {"RANK": str(rank)}, stdout=-1, stderr=-2, text=True
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=180)[0] for rank in ranks]
    assert all("gradients agree" in output for output in outputs), "\n".join(outputs)


def test_models_are_known_only_after_the_import() -> None:
    known = "timm.is_model('mgnet_2_2_2_2_c256_bl')"
    code = f"import timm; before = {known}; import mgnet_models; print(before, {known})"
    result = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]


def test_stochastic_depth_drops_paths_at_rates_that_rise_with_depth(family: str) -> None:
    """Whatever the family calls a path: in training other paths are dropped each time, in evaluation none."""
    if "drop_path_rate" not in inspect.signature(type(build(family)).__init__).parameters:
        pytest.skip("the family has no paths to drop")
    model, x = build(family, drop_path_rate=0.5), torch.randn(4, 3, 17, 22)
    rates = [module.drop_prob for module in model.modules() if isinstance(module, DropPath)]
    paths = len(rates) + 1  # the first path is never dropped, and has no module
    assert rates == pytest.approx([0.5 * index / (paths - 1) for index in range(1, paths)])
    plain = build(family)
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(model.eval()(x), plain.eval()(x), rtol=0, atol=0)
    model.train()
    outputs = []
    for seed in range(6):
        torch.manual_seed(seed)
        outputs.append(copy.deepcopy(model).forward_features(x))
    assert any(not torch.equal(outputs[0], other) for other in outputs[1:])


def test_with_every_path_dropped_nothing_is_added(family: str) -> None:
    """At a rate near 1 the last path is left out of each image, so it gets no gradient."""
    if "drop_path_rate" not in inspect.signature(type(build(family)).__init__).parameters:
        pytest.skip("the family has no paths to drop")
    model = build(family, drop_path_rate=1.0 - 1e-7).train()
    (*_, last) = (module for module in model.modules() if isinstance(module, DropPath))
    seen: list[Tensor] = []
    last.register_forward_hook(lambda module, given, dropped: seen.append(dropped))
    model(torch.randn(4, 3, 17, 22))
    assert seen
    assert all(not dropped.any() for dropped in seen)
