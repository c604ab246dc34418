"""Parameters and multiply-adds of the networks that Table 4 quotes from other papers, by arithmetic from those papers' layer lists.

The images are those of the quoted rows: 3x32x32 for CIFAR, 3x224x224 for ImageNet. Convention as in `mgnet.CONVENTION`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mgnet_verify.counts.closed_form.resnet import DEPTHS, ResNetShape, table


class LayerList:
    """A chain of layers on one image: channels and pixels go along, parameters and multiply-adds are summed."""

    def __init__(self, size: int) -> None:
        self.channels, self.h, self.w = 3, size, size
        self.parameters, self.macs = 0, 0

    def conv(
        self,
        c: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: bool = False,
        norm: bool = False,
    ) -> LayerList:
        """A convolution, padded by half its kernel unless given, with BatchNorm's weight and bias if `norm`."""
        padding = kernel // 2 if padding is None else padding
        self.h, self.w = ((n + 2 * padding - kernel) // stride + 1 for n in (self.h, self.w))
        weights = self.channels // groups * c * kernel**2
        self.parameters += weights + c * bias + 2 * c * norm
        self.macs += weights * self.h * self.w
        self.channels = c
        return self

    def norm(self) -> LayerList:
        """BatchNorm on its own."""
        self.parameters += 2 * self.channels
        return self

    def pool(self, kernel: int, stride: int, padding: int = 0) -> LayerList:
        """Max-pooling."""
        self.h, self.w = ((n + 2 * padding - kernel) // stride + 1 for n in (self.h, self.w))
        return self

    def projection(self, c: int, *, stride: int, norm: bool = False) -> None:
        """A 1x1 shortcut beside the chain, which goes on from where it was."""
        h, w = (-(-n // stride) for n in (self.h, self.w))
        self.parameters += self.channels * c + 2 * c * norm
        self.macs += self.channels * c * h * w

    def linear(self, *widths: int) -> LayerList:
        """Fully connected layers with bias, the first on all that is there."""
        features = self.channels * self.h * self.w
        for width in widths:
            self.parameters += features * width + width
            self.macs += features * width
            features = width
        return self

    def average(self) -> LayerList:
        """Global pooling."""
        self.h = self.w = 1
        return self


def cifar_alexnet(num_classes: int) -> LayerList:
    """Five convolutions and one linear layer: 11x11 at stride 4, 5x5, three 3x3, all with biases; 2x2 max-pools."""
    net = LayerList(32).conv(64, 11, stride=4, bias=True).pool(2, 2).conv(192, 5, bias=True).pool(2, 2)
    for c in (384, 256, 256):
        net.conv(c, 3, bias=True)
    return net.average().linear(num_classes)


def imagenet_alexnet(num_classes: int) -> LayerList:
    """The network of 2012: convolutions 2, 4 and 5 in two groups, which halves their inputs; three linear layers."""
    net = LayerList(224).conv(96, 11, stride=4, padding=2, bias=True).pool(3, 2)
    net.conv(256, 5, groups=2, bias=True).pool(3, 2)
    net.conv(384, 3, bias=True).conv(384, 3, groups=2, bias=True).conv(256, 3, groups=2, bias=True)
    return net.pool(3, 2).linear(4096, 4096, num_classes)


def _vgg19(size: int, *, norm: bool) -> LayerList:
    """Sixteen 3x3 convolutions with bias in five stages, each stage but the last here ended by its 2x2 max-pool."""
    net = LayerList(size)
    for stage, (n, c) in enumerate(((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))):
        if stage > 0:
            net.pool(2, 2)
        for _ in range(n):
            net.conv(c, 3, bias=True, norm=norm)
    return net.pool(2, 2)


def cifar_vgg19_bn(num_classes: int) -> LayerList:
    """VGG-19 with BatchNorm and one linear layer."""
    return _vgg19(32, norm=True).average().linear(num_classes)


def vgg19(num_classes: int) -> LayerList:
    """VGG-19 without BatchNorm and three linear layers on 7x7 pixels."""
    return _vgg19(224, norm=False).linear(4096, 4096, num_classes)


def _preact(net: LayerList, blocks: Sequence[int], channels: Sequence[int], *, bottleneck: bool) -> LayerList:
    """Pre-act blocks, the stride in a 3x3 convolution, a bare 1x1 shortcut first on each level; BatchNorm ends the chain."""
    for level, (n, c) in enumerate(zip(blocks, channels)):
        for i in range(n):
            stride = 2 if level > 0 and i == 0 else 1
            if i == 0:
                net.projection(c, stride=stride)
            net.norm()
            if bottleneck:
                net.conv(c // 4, 1, norm=True).conv(c // 4, 3, stride=stride, norm=True).conv(c, 1)
            else:
                net.conv(c, 3, stride=stride, norm=True).conv(c, 3)
    return net.norm()


def cifar_preactresnet1001(num_classes: int) -> LayerList:
    """111 bottlenecks on each of three levels; 3x3 stem to 16 channels."""
    net = _preact(LayerList(32).conv(16, 3), (111, 111, 111), (64, 128, 256), bottleneck=True)
    return net.average().linear(num_classes)


def imagenet_preactresnet200(num_classes: int) -> LayerList:
    """3, 24, 36, 3 bottlenecks; 7x7 stem to 64 channels with BatchNorm."""
    stem = LayerList(224).conv(64, 7, stride=2, norm=True).pool(3, 2, 1)
    return _preact(stem, (3, 24, 36, 3), (256, 512, 1024, 2048), bottleneck=True).average().linear(num_classes)


def _wide(depth: int, widening: int, num_classes: int) -> LayerList:
    """Three levels of pre-act blocks with 16, 32, 64 times `widening` channels."""
    channels = [16 * widening, 32 * widening, 64 * widening]
    net = _preact(LayerList(32).conv(16, 3), [(depth - 4) // 6] * 3, channels, bottleneck=False)
    return net.average().linear(num_classes)


def cifar_wrn28_2(num_classes: int) -> LayerList:
    """WideResNet of depth 28, widening 2, as the row's label says."""
    return _wide(28, 2, num_classes)


def cifar_wrn28_10(num_classes: int) -> LayerList:
    """WideResNet of depth 28, widening 10, whose count the row of WRN 28-2 prints."""
    return _wide(28, 10, num_classes)


def cifar_wrn40_2(num_classes: int) -> LayerList:
    """WideResNet of depth 40, widening 2, as the row's label says."""
    return _wide(40, 2, num_classes)


def wide_resnet50_2(num_classes: int) -> LayerList:
    """ResNet-50 whose 3x3 convolutions, which have the stride, are twice as wide; BatchNorm after each convolution."""
    net = LayerList(224).conv(64, 7, stride=2, norm=True).pool(3, 2, 1)
    for level, n in enumerate((3, 4, 6, 3)):
        inner, c = 128 * 2**level, 256 * 2**level
        for i in range(n):
            stride = 2 if level > 0 and i == 0 else 1
            if i == 0:
                net.projection(c, stride=stride, norm=True)
            net.conv(inner, 1, norm=True).conv(inner, 3, stride=stride, norm=True).conv(c, 1, norm=True)
    return net.average().linear(num_classes)


def _totals(network: Callable[[int], LayerList]) -> Callable[[int], tuple[int, int]]:
    def totals(num_classes: int) -> tuple[int, int]:
        net = network(num_classes)
        return net.parameters, net.macs

    return totals


def _resnet18(num_classes: int) -> tuple[int, int]:
    """The ImageNet network: a 7x7 stem before the same blocks as the paper's ResNet18."""
    shape = ResNetShape(blocks=DEPTHS[18], share_A=False, share_B=False, preact=False, imagenet=True)
    entries = table(shape, in_chans=3, num_classes=num_classes, size=(224, 224))
    return sum(entry.parameters for entry in entries), sum(entry.macs for entry in entries)


# Parameters and multiply-adds for a number of classes.
QUOTED: dict[str, Callable[[int], tuple[int, int]]] = {
    "resnet18": _resnet18,
    **{
        network.__name__: _totals(network)
        for network in (
            cifar_alexnet,
            cifar_preactresnet1001,
            cifar_vgg19_bn,
            cifar_wrn28_10,
            cifar_wrn28_2,
            cifar_wrn40_2,
            imagenet_alexnet,
            imagenet_preactresnet200,
            vgg19,
            wide_resnet50_2,
        )
    },
}
