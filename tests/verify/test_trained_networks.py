"""A network that was trained is certified like a fresh one: what training leaves in its buffers is no violation."""

from pathlib import Path

import timm
import torch

from mgnet_models import save_checkpoint
from mgnet_verify import certify, resolve


def test_a_trained_checkpoint_passes(tmp_path: Path) -> None:
    arguments = {"notation": "MgNet[2,1]-[(4,3),(5,4)]-B^l", "num_classes": 3}
    model = timm.create_model("mgnet", **arguments)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model.train()(torch.randn(8, 3, 8, 8)).square().sum().backward()
        optimizer.step()
    save_checkpoint(model, tmp_path / "trained.safetensors", model_name="mgnet", model_args=arguments)
    certificate = certify(resolve(str(tmp_path / "trained.safetensors")))
    assert certificate.status == "pass", [result for result in certificate.properties if result.status == "fail"]
