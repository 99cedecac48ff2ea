"""Pictures as the vision tower reads them: squeezed to a square, bicubic, values from −1 to 1."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from armap_agents.errors import ArmapError
from armap_agents.trajectory import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What screenshots come as; the library's rarer readers stay closed to foreign bytes."""


def pixels(image: Image, size: int) -> NDArray[np.float32]:
    """Return a picture's values, ``float32 [3, size, size]``: (x / 255 − 0.5) / 0.5.

    Args:
        image: Any picture of a usual format; transparency is dropped.
        size: Edge of the square.

    Raises:
        ArmapError: The bytes are no picture that can be read.
    """
    try:
        with Pictures.open(io.BytesIO(image.data), formats=FORMATS) as opened:
            square = opened.convert("RGB").resize((size, size), Pictures.Resampling.BICUBIC)
    # Damaged files end in many errors of the library, a hostile one in its DecompressionBombError.
    except Exception as error:
        raise ArmapError(
            f"image {image.sha256[:12]}… ({image.media_type}, {len(image.data)} bytes) cannot be "
            f"read ({type(error).__name__}): leave it out of the trajectory, or record it again as "
            "PNG or JPEG"
        ) from error
    values = np.asarray(square, dtype=np.float32).transpose(2, 0, 1)
    return (values / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
