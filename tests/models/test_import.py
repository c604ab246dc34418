"""A process that imports the models is the same as before, but for the names in timm's registry."""

import json
import subprocess
import sys
from pathlib import Path

import mgnet_models

STATE = """
import json, logging, os, random, resource, signal, sys, threading, warnings
import numpy, timm, torch

def state():
    backends = torch.backends
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads(), threading.active_count()),
        "defaults": (str(torch.get_default_dtype()), str(torch.get_default_device()), torch.is_grad_enabled()),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory),
        "precision": (torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32, backends.cudnn.benchmark),
        "units": (backends.mkldnn.enabled, backends.cudnn.enabled, torch.is_autocast_enabled("cpu")),
        "random": (torch.random.get_rng_state().sum().item(), hash(random.getstate()), int(numpy.random.get_state()[1].sum())),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "hooks": (repr(sys.excepthook), repr(threading.excepthook), [repr(finder) for finder in sys.meta_path]),
        "signals": {int(number): repr(signal.getsignal(number)) for number in signal.valid_signals()},
        "warnings": [repr(entry) for entry in warnings.filters],
        "logging": (logging.root.level, repr(logging.root.handlers), logging.getLogger("timm").level),
        "limits": (resource.getrlimit(resource.RLIMIT_NOFILE), sys.getrecursionlimit()),
        "modes": torch._C._len_torch_function_stack(),
    }

before, names, files = state(), set(timm.list_models()), len(os.listdir("/proc/self/fd"))
import mgnet_models
after = state()
print(json.dumps({
    "changed": [name for name in before if before[name] != after[name]],
    "lost": sorted(names - set(timm.list_models())),
    "files": len(os.listdir("/proc/self/fd")) - files,
    "registered": len(set(timm.list_models()) - names),
}))
"""


def test_importing_the_models_alters_nothing_but_the_registry() -> None:
    done = subprocess.run([sys.executable, "-c", STATE], capture_output=True, text=True, check=True, timeout=120)
    seen = json.loads(done.stdout)
    assert done.stderr == ""
    assert seen.pop("registered") > 100
    assert seen == {"changed": [], "lost": [], "files": 0}


CLOSURE = """
import ast, pathlib, sys
root = pathlib.Path(sys.argv[1])
todo, seen = ["mgnet_models.mgnet.grid"], set()
while todo:
    name = todo.pop()
    path = root / (name.replace(".", "/") + ".py")
    if name in seen or not path.is_file():
        continue
    seen.add(name)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mgnet_models"):
            todo.append(node.module)
print(*sorted(seen))
"""


def test_the_golden_file_imports_the_paper_and_layers_alone() -> None:
    root = str(Path(mgnet_models.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", CLOSURE, root], capture_output=True, text=True, check=True)
    modules = ("mgnet.grid", "mgnet.transfer", "nn.layers", "notation")
    assert done.stdout.split() == [f"mgnet_models.{name}" for name in modules]


def test_dir_of_the_package_shows_exactly_the_public_names() -> None:
    assert dir(mgnet_models) == sorted(mgnet_models.__all__)
    assert all(hasattr(mgnet_models, name) for name in mgnet_models.__all__)
