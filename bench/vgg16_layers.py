"""The six deep layers of VGG-16 as they are trained, and where they start: layer by layer, by ridge regression of
maps of a teacher."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kestrel.cli.output import progress
from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.model.network import NetworkShape
from kestrel.sw.retrain.networks.floats import FloatConv, FloatConvs
from vgg16_cache import BATCH, POOL3, Maps, Pass


class DeepLayers(nn.Module):
    """Convolutions behind pool3, each followed by normalisation over the batch, which is folded afterwards.

    ``scale``, [C], is what pool3 is multiplied by, so that its channels have one size.
    """

    def __init__(self, shape: NetworkShape, frozen: int) -> None:
        super().__init__()
        self.shapes = shape.layers[frozen:]
        self.convs = nn.ModuleList(nn.Conv2d(s.in_channels, s.out_channels, 3, padding=1, bias=False)
                                   for s in self.shapes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(s.out_channels, momentum=0.03) for s in self.shapes)
        self.scale = nn.Buffer(torch.ones(self.shapes[0].in_channels))
        self.to(memory_format=LAYOUT)

    def layer(self, number: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        conv, norm = self.convs[number], self.norms[number]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        return conv, norm

    def forward(self, pool3: torch.Tensor, stop: int | None = None) -> list[torch.Tensor]:
        """The maps of the first ``stop`` layers, pooled where the network pools; of pool3 [N, C, H, W]."""
        x = (pool3 * self.scale[:, None, None]).contiguous(memory_format=LAYOUT)
        found = [x] if stop == 0 else []
        for number, shape in enumerate(self.shapes[:stop]):
            conv, norm = self.layer(number)
            x = norm(conv(x)).relu()
            x = functional.max_pool2d(x, 2) if shape.pool else x
            found.append(x)
        return found

    @torch.no_grad()
    def folded(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights and biases that do the same with the normalisation's running figures."""
        found = []
        for number in range(len(self.shapes)):
            conv, norm = self.layer(number)
            assert norm.running_var is not None
            assert norm.running_mean is not None
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            weight = conv.weight * gain[:, None, None, None]
            weight = weight * self.scale[:, None, None] if number == 0 else weight
            found.append((weight.contiguous().numpy().copy(),
                          (norm.bias - norm.running_mean * gain).numpy().copy()))
        return found


POSITIONS = 64
"""Windows of a map that regression looks at."""

DAMPING = 0.003
"""Of the regression, relative to the mean square of its inputs."""


@dataclass(frozen=True)
class Teaching:
    """What the layers start to learn, by layer: sums of the teacher, before its ReLU."""

    teacher: FloatConvs
    components: torch.Tensor

    def _conv(self, name: str) -> FloatConv:
        return next(conv for conv in self.teacher.convs() if conv.shape.name == name)

    def _first(self, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        conv = self._conv(name)
        return functional.conv2d(x, conv.weight, conv.bias, stride, padding=1)

    def _block(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Sums of a block of stride 2 or 1."""
        first, second = self._conv(f"{name}_conv1"), self._conv(f"{name}_conv2")
        inside = self._first(f"{name}_conv1", x, first.shape.stride).relu()
        total = functional.conv2d(inside, second.weight, second.bias, padding=1)
        link, given = second.shape.shortcut, second.shortcut
        assert link is not None
        assert given is not None
        if link.projection:
            return total + functional.conv2d(x, given[:, :, None, None], stride=link.stride)
        return total + x * given[:, None, None]

    def targets(self, layer: int, maps: Maps, scale: torch.Tensor) -> torch.Tensor:
        """float32 [N, C_out, H, W] of the size of the layer's input."""
        if layer < 2:
            x = maps[POOL3] * scale[:, None, None]
            passed = torch.einsum("kc,nchw->nkhw", self.components, x)
            return torch.cat([maps["layer2.1"], self._first("layer3_0_conv1", maps["layer2.1"], 1),
                              passed, -passed], dim=1)
        if layer == 2:
            return enlarge(torch.cat([self._block("layer3_0", maps["layer2.1"]),
                                      self._block("layer3_1", maps["layer3.0"])], dim=1))
        if layer == 3:
            return self._first("layer4_0_conv1", maps["layer3.1"], 1)
        return enlarge(self._block("layer4_0", maps["layer3.1"]))


def enlarge(x: torch.Tensor) -> torch.Tensor:
    """Each position four times, so that a layer that is pooled learns it everywhere."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


@torch.no_grad()
def start_layers(model: DeepLayers, teacher: FloatConvs, passes: Sequence[Pass], held: Pass) -> None:
    """Fits one layer after the other."""
    model.scale.copy_(1 / _deviations(passes[0]))
    components = _components(model, passes[0], model.shapes[0].out_channels // 8)
    teaching = Teaching(teacher, components)
    for number, shape in enumerate(model.shapes):
        conv, norm = model.layer(number)
        size, outputs = 9 * shape.in_channels, shape.out_channels
        inputs, pairs = torch.zeros(size + 1, size + 1), torch.zeros(size + 1, outputs)
        squares = torch.zeros(outputs)
        count = 0
        for maps in _batches(passes, shape.name):
            x = _inputs(model, number, maps)
            wanted = teaching.targets(number, maps, model.scale)
            windows, values = _sampled(x, wanted, count)
            count += len(windows)
            inputs.addmm_(windows.T, windows)
            pairs.addmm_(windows.T, values)
            squares += values.square().sum(0)
        pairs /= count
        deviation = (squares / count - pairs[-1].square()).sqrt()
        inputs, pairs = inputs.double() / count, (pairs / deviation).double()
        damping = torch.full((size + 1,), DAMPING * float(inputs.trace()) / size, dtype=torch.float64)
        damping[-1] = 0
        found = torch.linalg.solve(inputs + damping.diag(), pairs)
        weight, bias = found[:-1].T, found[-1]
        mean = weight @ inputs[-1, :-1]
        covariance = inputs[:-1, :-1] - inputs[-1, :-1].outer(inputs[-1, :-1])
        power = ((weight @ covariance) * weight).sum(1).clamp_min(1e-12).sqrt()
        gain = deviation if shape.pool else torch.ones(outputs)  # pooled maps are the teacher's
        conv.weight.copy_((weight / power[:, None]).float().view(outputs, shape.in_channels, 3, 3))
        norm.weight.copy_((power * gain).float())
        norm.bias.copy_(((bias + mean) * gain).float())
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_((mean / power).float())
        norm.running_var.fill_(1.0)
        explained = 1 - ((_predict(model, number, held) - _wanted(teaching, number, held, model)).square().mean(
            (0, 2, 3)) / _wanted(teaching, number, held, model).var((0, 2, 3))).mean()
        print(f"{shape.name}: {count} windows, held out R2 {float(explained):.3f}", flush=True)


def _inputs(model: DeepLayers, number: int, maps: Maps) -> torch.Tensor:
    return model.eval()(maps[POOL3], number)[-1]


def _deviations(given: Pass) -> torch.Tensor:
    some = given.read(range(0, len(given), 8), [POOL3])[POOL3]
    return some.std((0, 2, 3))


def _components(model: DeepLayers, given: Pass, count: int) -> torch.Tensor:
    x = given.read(range(0, len(given), 8), [POOL3])[POOL3] * model.scale[:, None, None]
    rows = x.permute(0, 2, 3, 1).flatten(0, 2)
    covariance = torch.cov(rows.T.double())
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors[:, -count:] / values[-count:].sqrt()).T.float()


def _batches(passes: Sequence[Pass], name: str) -> Iterator[Maps]:
    total = sum(map(len, passes))
    with progress(name, total) as advance:
        for given in passes:
            for start in range(0, len(given), BATCH):
                rows = range(start, min(start + BATCH, len(given)))
                yield given.read(rows)
                advance(len(rows))


def _sampled(x: torch.Tensor, wanted: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows [P, 9 C + 1] with a one at the end, and values [P, C_out]."""
    generator = torch.Generator().manual_seed(seed)
    n, _, h, w = x.shape
    framed = functional.pad(x, (1, 1, 1, 1))
    count = min(POSITIONS, h * w)
    windows, values = [], []
    for k in range(n):
        places = torch.randperm(h * w, generator=generator)[:count]
        rows, columns = places // w, places % w
        taps = [framed[k][:, rows + dy, columns + dx] for dy in range(3) for dx in range(3)]
        windows.append(torch.stack(taps, dim=1).flatten(0, 1).T)
        values.append(wanted[k][:, rows, columns].T)
    found = torch.cat(windows)
    return torch.cat([found, torch.ones(len(found), 1)], dim=1), torch.cat(values)


def _predict(model: DeepLayers, number: int, held: Pass) -> torch.Tensor:
    conv, norm = model.layer(number)
    return torch.cat([norm(conv(_inputs(model, number, held.read(range(k, min(k + 10, len(held)))))))
                      for k in range(0, len(held), 10)])


def _wanted(teaching: Teaching, number: int, held: Pass, model: DeepLayers) -> torch.Tensor:
    return teaching.targets(number, held.read(range(len(held))), model.scale)
