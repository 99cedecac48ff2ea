"""One function per kind of thing: it takes an `Ink` and returns the SVG of the thing alone."""
