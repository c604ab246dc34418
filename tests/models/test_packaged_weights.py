"""The weights that come with the package need no network, are small, and reach what is stated, measured again here."""

import pytest
import timm
import torch

from mgnet_models.weights.files import packaged_weights, stated_results
from mgnet_records.datasets import DATA_SETS
from mgnet_train.data.augment import Normalize
from mgnet_train.data.digits import read_digits

STATED = stated_results()


@pytest.mark.parametrize("name", sorted(STATED))
def test_the_stated_accuracy_is_measured_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket", None)  # any look at a network would fail
    model = timm.create_model(f"{name}.digits", pretrained=True).eval()
    test = read_digits().test
    with torch.no_grad():
        logits = model(Normalize(DATA_SETS["digits"], torch.device("cpu"))(test.images))
    correct = int((logits.argmax(1) == test.labels).sum())
    assert (len(test), correct) == (STATED[name]["test"]["n"], STATED[name]["test"]["correct_last"])
    assert correct / len(test) >= 0.98


@pytest.mark.parametrize("name", sorted(STATED))
def test_the_weights_are_small_and_the_default(name: str) -> None:
    path = packaged_weights(f"{name}.digits")
    assert path is not None
    assert path.stat().st_size < 1_000_000
    assert timm.is_model_pretrained(name)
    assert timm.get_pretrained_cfg(name).tag == "digits"


def test_the_classifier_and_channels_adapt_to_another_task() -> None:
    model = timm.create_model(sorted(STATED)[0], pretrained=True, in_chans=3, num_classes=4)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 4)


def test_only_stated_weights_are_offered() -> None:
    assert {name for name in timm.list_models("*", pretrained=True) if "mgnet" in name} == {f"{name}.digits" for name in STATED}


def test_the_normalization_is_that_of_the_training_images() -> None:
    pixels = read_digits().train.images.double() / DATA_SETS["digits"].pixel_max
    assert DATA_SETS["digits"].mean == (round(pixels.mean().item(), 4),)
    assert DATA_SETS["digits"].std == (round(pixels.std().item(), 4),)
