"""Train a tiny torch model, export it, and optimize it to int8 in the same script. Writes tiny.int8.onnx.

python examples/export_and_optimize.py        # needs torch and onnxscript; ten seconds on one core
"""

import torch
from torch import nn

import onnxzip


def images_of_stripes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy 16x16 images of stripes in one of four directions, and the direction."""
    direction = torch.randint(4, (count,))
    slope = torch.tensor([[0, 1], [1, 0], [1, 1], [1, -1]])[direction]
    axis = torch.arange(16)
    phase = torch.rand(count, 1, 1) * 6.28
    waves = torch.sin(1.2 * (slope[:, :1, None] * axis[:, None] + slope[:, 1:, None] * axis) + phase)
    return (waves + 0.8 * torch.randn(count, 16, 16)).unsqueeze(1), direction


def main() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4)),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(60):
        image, direction = images_of_stripes(64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(image), direction).backward()
        optimizer.step()

    program = torch.onnx.export(
        net.eval(),
        (image,),
        input_names=["image"],
        output_names=["scores"],
        dynamic_shapes=({0: "batch"},),
        dynamo=True,
        verbose=False,
    )
    batches = [{"image": images_of_stripes(32)[0].numpy()} for _ in range(16)]
    result = onnxzip.optimize(program, calibration=batches, config=onnxzip.Config(preset="int8"))

    print("passed" if result.verdict.passed else f"failed: {'; '.join(result.verdict.reasons)}")
    for name, figure in result.verdict.metrics.items():
        print(f"{name:>14}  {figure:.4g}")
    result.save("tiny.int8.onnx")


if __name__ == "__main__":
    main()
