"""Parameters of the networks that Table 4 quotes from other papers, by arithmetic from those papers' layer lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from mgnet_verify.counts.closed_form.resnet import DEPTHS, ResNetShape
from mgnet_verify.counts.closed_form.resnet import parameters as resnet_parameters

VGG19 = ((3, 64), *[(64, 64)], (64, 128), (128, 128), (128, 256), *[(256, 256)] * 3, (256, 512), *[(512, 512)] * 7)


def _convolutions(layers: Sequence[tuple[int, int, int]]) -> int:
    """(c_in, c_out, k) with biases."""
    return sum(c_in * c_out * k * k + c_out for c_in, c_out, k in layers)


def _linear(*widths: int) -> int:
    return sum(a * b + b for a, b in pairwise(widths))


def cifar_alexnet(num_classes: int) -> int:
    """Five convolutions and one linear layer: 11x11, 5x5, three 3x3, all with biases."""
    return _convolutions([(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3)]) + _linear(256, num_classes)


def imagenet_alexnet(num_classes: int) -> int:
    """The network of 2012: convolutions 2, 4 and 5 in two groups, which halves their inputs; three linear layers."""
    layers = [(3, 96, 11), (48, 256, 5), (256, 384, 3), (192, 384, 3), (192, 256, 3)]
    return _convolutions(layers) + _linear(256 * 6 * 6, 4096, 4096, num_classes)


def cifar_vgg19_bn(num_classes: int) -> int:
    """Sixteen 3x3 convolutions, each with bias and BatchNorm, and one linear layer."""
    return _convolutions([(a, b, 3) for a, b in VGG19]) + sum(2 * b for _, b in VGG19) + _linear(512, num_classes)


def vgg19(num_classes: int) -> int:
    """Sixteen 3x3 convolutions without BatchNorm and three linear layers on 7x7 pixels."""
    return _convolutions([(a, b, 3) for a, b in VGG19]) + _linear(512 * 7 * 7, 4096, 4096, num_classes)


def resnet18(num_classes: int) -> int:
    """The ImageNet network: a 7x7 stem before the same blocks."""
    shape = ResNetShape(blocks=DEPTHS[18], share_A=False, share_B=False, preact=False, imagenet=True)
    return resnet_parameters(shape, in_chans=3, num_classes=num_classes)


def _preact_bottlenecks(blocks: Sequence[int], stem: int, planes: int) -> int:
    """Blocks BN, 1x1, BN, 3x3, BN, 1x1 with four times `planes` outputs; a bare 1x1 shortcut first on each level; final BN."""
    total, c_in = 0, stem
    for level, n in enumerate(blocks):
        inner, c_out = planes * 2**level, 4 * planes * 2**level
        total += c_in * c_out
        for _ in range(n):
            total += c_in * inner + 9 * inner**2 + inner * c_out + 2 * (c_in + 2 * inner)
            c_in = c_out
    return total + 2 * c_in


def cifar_preactresnet1001(num_classes: int) -> int:
    """111 bottlenecks on each of three levels, 16 planes; 3x3 stem to 16 channels."""
    return 27 * 16 + _preact_bottlenecks((111, 111, 111), 16, 16) + _linear(256, num_classes)


def imagenet_preactresnet200(num_classes: int) -> int:
    """3, 24, 36, 3 bottlenecks; 7x7 stem to 64 channels with BatchNorm."""
    return 147 * 64 + 128 + _preact_bottlenecks((3, 24, 36, 3), 64, 64) + _linear(2048, num_classes)


def _wide(blocks: int, widening: int, num_classes: int) -> int:
    """Three levels of pre-act blocks with 16, 32, 64 times `widening` channels; bare 1x1 shortcuts; final BN."""
    total, c_in = 27 * 16, 16
    for c in (16 * widening, 32 * widening, 64 * widening):
        total += c_in * c
        for _ in range(blocks):
            total += 9 * (c_in * c + c * c) + 2 * (c_in + c)
            c_in = c
    return total + 2 * c_in + _linear(c_in, num_classes)


def cifar_wrn28_2(num_classes: int) -> int:
    """WideResNet of depth 28, widening 2, as the row's label says."""
    return _wide(4, 2, num_classes)


def cifar_wrn40_2(num_classes: int) -> int:
    """WideResNet of depth 40, widening 2, as the row's label says."""
    return _wide(6, 2, num_classes)


def wide_resnet50_2(num_classes: int) -> int:
    """ResNet-50 whose 3x3 convolutions are twice as wide; BatchNorm after every convolution and shortcut."""
    total, c_in = 147 * 64 + 128, 64
    for level, n in enumerate((3, 4, 6, 3)):
        inner, c_out = 128 * 2**level, 256 * 2**level
        total += c_in * c_out + 2 * c_out
        for _ in range(n):
            total += c_in * inner + 9 * inner**2 + inner * c_out + 2 * (2 * inner + c_out)
            c_in = c_out
    return total + _linear(2048, num_classes)


QUOTED: dict[str, Callable[[int], int]] = {
    f.__name__: f
    for f in (
        cifar_alexnet,
        cifar_preactresnet1001,
        cifar_vgg19_bn,
        cifar_wrn28_2,
        cifar_wrn40_2,
        imagenet_alexnet,
        imagenet_preactresnet200,
        resnet18,
        vgg19,
        wide_resnet50_2,
    )
}
