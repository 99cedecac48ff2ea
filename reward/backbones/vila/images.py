"""Pictures as the vision tower reads them: squeezed to a square, bicubic, values from −1 to 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from armap_agents.reward.backbones.pictures import open_picture
from armap_agents.trajectory import Image


def pixels(image: Image, size: int) -> NDArray[np.float32]:
    """Return a picture's values, ``float32 [3, size, size]``: (x / 255 − 0.5) / 0.5.

    Args:
        image: Any picture of a usual format.
        size: Edge of the square.

    Raises:
        ArmapError: The bytes are no picture that can be read.
    """
    square = open_picture(image).resize((size, size), Pictures.Resampling.BICUBIC)
    values = np.asarray(square, dtype=np.float32).transpose(2, 0, 1)
    return (values / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
