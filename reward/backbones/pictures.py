"""Foreign bytes as pictures: the usual formats of screenshots alone, and none of absurd size."""

from __future__ import annotations

import io

from PIL import Image as Pictures

from armap_agents.errors import ArmapError
from armap_agents.trajectory import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What screenshots come as. The library's rarer readers stay closed to foreign bytes: one of them
starts a PostScript interpreter."""

MOST_PIXELS = 50_000_000
"""Larger pictures are refused before they are unpacked."""


def open_picture(image: Image) -> Pictures.Image:
    """Return an image's pixels in RGB; transparency is dropped.

    Raises:
        ArmapError: Its bytes are no picture of a usual format, a broken one, or of absurd size.
    """
    try:
        with Pictures.open(io.BytesIO(image.data), formats=FORMATS) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise ValueError(f"it has {opened.width} × {opened.height} pixels")
            return opened.convert("RGB")
    except Exception as error:  # decoders raise whatever they like
        raise ArmapError(
            f"image {image.sha256[:12]}… ({len(image.data)} bytes) cannot be read "
            f"({type(error).__name__}: {' '.join(str(error).split())[:80]}): leave it out, or "
            "record it again as PNG or JPEG"
        ) from None
