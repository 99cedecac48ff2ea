"""From patches of a picture to positions of the language model: VILA1.5's `mlp_downsample`."""

from __future__ import annotations

from math import isqrt

from torch import Tensor, nn


class Downsample(nn.Module):
    """Puts four neighbouring patches side by side in one vector, a quarter of the positions left.

    An odd grid gets a row and a column of zeros at its end. Within a vector the patches stand row
    by row; the vectors themselves go down the columns, which is how VILA was trained.
    """

    def forward(self, patches: Tensor) -> Tensor:
        """Merge patches, ``[images, side², width]`` to ``[images, ceil(side / 2)², 4 · width]``."""
        count, total, width = patches.shape
        side = isqrt(total)
        grid = patches.view(count, side, side, width)
        if side % 2:
            grid = nn.functional.pad(grid, (0, 0, 0, 1, 0, 1))
        half = (side + 1) // 2
        blocks = grid.view(count, half, 2, half, 2, width)  # row, its parity, column, its parity
        return blocks.permute(0, 3, 1, 2, 4, 5).reshape(count, half * half, 4 * width)


class Projector(nn.Module):
    """Downsampling, layer norm and a perceptron of two layers; names as in the checkpoint.

    Args:
        vision_width: Size of a patch's feature.
        width: Size of the language model's embeddings.
    """

    def __init__(self, vision_width: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Downsample(),
            nn.LayerNorm(4 * vision_width),
            nn.Linear(4 * vision_width, width),
            nn.GELU(),
            nn.Linear(width, width),
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Project patches, ``[images, side², vision_width]`` to ``[images, positions, width]``."""
        projected: Tensor = self.layers(patches)
        return projected


def positions_of(side: int) -> int:
    """Return how many positions a picture of ``side × side`` patches takes."""
    return ((side + 1) // 2) ** 2
