"""Train the models that ship in `models/`: a residual CNN on handwritten digits, and a variant with zeroed channels.

    python tools/train_digits.py [FOLDER]        # needs torch, onnxscript and scikit-learn; one minute on one core

Data: scikit-learn's bundled digits (1797 images of 8x8 pixels, values k/16), split once, stratified: 1347 train, 450
evaluate. The schedules below are fixed and the last epoch is exported; the share of zeros was what they were set by.

1. `digits_resnet.onnx`: trained plainly. BatchNormalization is exported as a node of its own.
2. `digits_resnet_sparse.onnx`: the same network after sparsity training, that is network slimming (Liu et al. 2017,
   "Learning Efficient Convolutional Networks through Network Slimming", arXiv:1708.06519) with groups:
   loss + λ Σ_channels sqrt(Σ_b γ_b²), the sum under the root running over the BatchNormalizations b whose outputs are
   added into one residual stream (one b inside a block: the paper's |γ|). Channels whose root falls under the threshold
   get γ = β = 0 and a zero filter in every branch, exactly, and stay so while the rest is fine-tuned.
3. `digits_calibration.npz` (256 training images) and `digits_evaluation.npz` (the 450 others, with labels).

Seeded and single-threaded: on one machine, two runs write the same bytes.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

SEED = 0
OPSET = 18
WIDTHS = (32, 64, 96)
EVALUATION_IMAGES = 450
CALIBRATION_IMAGES = 256
BATCH = 64
EPOCHS, SPARSE_EPOCHS, TUNING_EPOCHS = 30, 40, 15
PENALTY = 5e-3  # λ
THRESHOLD = 0.01  # of the root, which is about 1 per branch after plain training
SIZE_LIMIT = 1_000_000  # bytes; the files live in git


class Branch(nn.Module):
    """Conv, then BatchNormalization."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inside, height, width] to [batch, outside, height / stride, width / stride]."""
        return self.norm(self.conv(x))


class Block(nn.Module):
    """Two convolutions around a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = Branch(inside, outside, 3, stride)
        self.second = Branch(outside, outside, 3)
        self.shortcut = Branch(inside, outside, 1, stride) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inside, height, width] to [batch, outside, height / stride, width / stride]."""
        return functional.relu(self.second(functional.relu(self.first(x))) + self.shortcut(x))


class DigitsNet(nn.Module):
    """[batch, 1, 8, 8] to [batch, 10]: stem, three residual blocks at 8x8, 4x4 and 2x2, global average, linear."""

    def __init__(self) -> None:
        super().__init__()
        narrow, middle, wide = WIDTHS
        self.stem = Branch(1, narrow, 3)
        self.block1 = Block(narrow, narrow, stride=1)
        self.block2 = Block(narrow, middle, stride=2)
        self.block3 = Block(middle, wide, stride=2)
        self.classifier = nn.Linear(wide, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Scores before softmax."""
        x = self.block3(self.block2(self.block1(functional.relu(self.stem(image)))))
        return self.classifier(functional.adaptive_avg_pool2d(x, 1).flatten(1))

    def channel_groups(self) -> dict[str, list[Branch]]:
        """The branches whose output channels are added to each other, and so can only be zero together."""
        b1, b2, b3 = self.block1, self.block2, self.block3
        return {
            "stem + block1.second (stream)": [self.stem, b1.second],
            "block1.first": [b1.first],
            "block2.second + block2.shortcut (stream)": [b2.second, b2.shortcut],
            "block2.first": [b2.first],
            "block3.second + block3.shortcut (stream)": [b3.second, b3.shortcut],
            "block3.first": [b3.first],
        }


@dataclass(frozen=True)
class Digits:
    """Images float32 [N, 1, 8, 8] in 0 to 1, labels int64 [N]; training and evaluation are disjoint."""

    train_images: Tensor
    train_labels: Tensor
    evaluation_images: Tensor
    evaluation_labels: Tensor


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "models"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(SEED)
    digits = load_data()
    save_data(digits, folder)

    net = DigitsNet()
    train(net, digits, EPOCHS, rate=3e-3)
    report("digits_resnet", net, digits, export(net, folder / "digits_resnet.onnx"))

    train(net, digits, SPARSE_EPOCHS, rate=5e-3, penalty=lambda: PENALTY * group_roots(net).sum())
    zero_small_channels(net)
    train(net, digits, TUNING_EPOCHS, rate=1e-3)
    reset_dead_statistics(net)
    report("digits_resnet_sparse", net, digits, export(net, folder / "digits_resnet_sparse.onnx"))
    report_zeros(net)


def load_data() -> Digits:
    """scikit-learn's digits, scaled to 0..1 and split once. Pixels are k/16, which float32 holds exactly."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels.astype(np.int64), test_size=EVALUATION_IMAGES, stratify=labels, random_state=SEED
    )
    return Digits(*(torch.from_numpy(a) for a in (train_x, train_y, test_x, test_y)))


def save_data(digits: Digits, folder: Path) -> None:
    np.savez_compressed(folder / "digits_calibration.npz", image=digits.train_images[:CALIBRATION_IMAGES].numpy())
    np.savez_compressed(
        folder / "digits_evaluation.npz",
        image=digits.evaluation_images.numpy(),
        label=digits.evaluation_labels.numpy(),
    )


def train(
    net: DigitsNet, digits: Digits, epochs: int, *, rate: float, penalty: Callable[[], Tensor] | None = None
) -> None:
    """Adam with a rate that falls along a cosine; images are shifted by up to one pixel."""
    rng = np.random.default_rng(SEED)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    batches = len(digits.train_images) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    net.train()
    for _ in range(epochs):
        order = rng.permutation(len(digits.train_images))
        for start in range(0, batches * BATCH, BATCH):
            chosen = order[start : start + BATCH]
            scores = net(shifted(digits.train_images[chosen], rng))
            loss = functional.cross_entropy(scores, digits.train_labels[chosen], label_smoothing=0.05)
            if penalty is not None:
                loss = loss + penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()


def shifted(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image moved by -1, 0 or 1 pixels along both axes; empty border."""
    padded = functional.pad(images, (1, 1, 1, 1))
    corners = rng.integers(0, 3, (len(images), 2))
    return torch.stack([p[:, y : y + 8, x : x + 8] for p, (y, x) in zip(padded, corners, strict=True)])


def group_roots(net: DigitsNet) -> Tensor:
    """sqrt(Σ_b γ_b²) of every channel of every group, one vector. The small term keeps the gradient finite at 0."""
    return torch.cat([root(branches) for branches in net.channel_groups().values()])


def root(branches: list[Branch]) -> Tensor:
    return torch.stack([b.norm.weight for b in branches]).square().sum(0).add(1e-12).sqrt()


@torch.no_grad()
def zero_small_channels(net: DigitsNet) -> None:
    """γ, β and filter become 0 where the group's root is under the threshold; a hook keeps their gradients at 0."""
    for branches in net.channel_groups().values():
        keep = (root(branches) >= THRESHOLD).float()
        for branch in branches:
            for parameter in (branch.norm.weight, branch.norm.bias, branch.conv.weight):
                mask = keep.reshape(-1, *[1] * (parameter.dim() - 1))
                parameter.copy_(torch.where(mask > 0, parameter, 0.0))  # not a product, which would leave -0
                parameter.register_hook(lambda gradient, mask=mask: gradient * mask)


@torch.no_grad()
def reset_dead_statistics(net: DigitsNet) -> None:
    """Running mean and variance of zeroed channels fade into denormal numbers; give them the initial 0 and 1."""
    for branches in net.channel_groups().values():
        for branch in branches:
            dead = branch.norm.weight == 0
            branch.norm.running_mean[dead] = 0.0
            branch.norm.running_var[dead] = 1.0


def export(net: DigitsNet, path: Path) -> int:
    """Write ONNX with every BatchNormalization in place and without text that varies. Returns the size in bytes.

    Branches that are added learn equal β (their gradients are equal); the exporter stores them once, behind an Identity.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # deprecated, but the new exporter fuses, or without that leaves 86 nodes for 33
        torch.onnx.export(
            net,
            (torch.zeros(2, 1, 8, 8),),
            buffer,
            input_names=["image"],
            output_names=["scores"],
            dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}},
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,  # EVAL would fuse; the net is in eval mode already
            do_constant_folding=False,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_version = ""
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    if len(content) >= SIZE_LIMIT:
        raise SystemExit(f"{path}: {len(content)} bytes, the limit is {SIZE_LIMIT}: make WIDTHS smaller")
    path.write_bytes(content)
    return len(content)


@torch.no_grad()
def report(name: str, net: DigitsNet, digits: Digits, size: int) -> None:
    right = (net(digits.evaluation_images).argmax(1) == digits.evaluation_labels).sum().item()
    total = len(digits.evaluation_labels)
    parameters = sum(p.numel() for p in net.parameters())
    print(f"{name}: {right}/{total} right, accuracy {right / total:.4f}, {parameters} trained parameters, {size} bytes")


def report_zeros(net: DigitsNet) -> None:
    for name, branches in net.channel_groups().items():
        gammas = branches[0].norm.weight
        print(f"  {name}: {int((gammas == 0).sum())} of {len(gammas)} channels are zero")


if __name__ == "__main__":
    main()
