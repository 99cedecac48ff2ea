// Values as colours, and the page's own colours for the canvas.

// Control points of viridis, which stays readable with any colour vision and in grey.
const VIRIDIS = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
  [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
];
const SHADES = 32;

/** The colour at `part` of the scale, 0 to 1. */
function shade(part) {
  const place = Math.min(1, Math.max(0, part)) * (VIRIDIS.length - 1);
  const below = Math.min(VIRIDIS.length - 2, Math.floor(place));
  const mixed = VIRIDIS[below].map((channel, k) =>
    Math.round(channel + (VIRIDIS[below + 1][k] - channel) * (place - below)));
  return `rgb(${mixed.join(" ")})`;
}

const SHADE = Array.from({ length: SHADES }, (_, k) => shade(k / (SHADES - 1)));

/** Number of the shade of `value` between `low` and `high`; all equal is the middle. */
function shadeNumber(value, low, high) {
  const part = high > low ? (value - low) / (high - low) : 0.5;
  return Math.round(Math.min(1, Math.max(0, part)) * (SHADES - 1));
}

/** The colours that the style sheet gives in the present light or dark scheme. */
function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ground", "sheet", "ink", "quiet", "faint", "line", "edge", "accent", "now", "bad"];
  const theme = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  theme.code = style.getPropertyValue("--code").trim();
  return theme;
}

/** Paints the scale into a small canvas of the legend. */
function paintScale(canvas) {
  canvas.width = SHADES;
  canvas.height = 1;
  const context = canvas.getContext("2d");
  SHADE.forEach((colour, k) => {
    context.fillStyle = colour;
    context.fillRect(k, 0, 1, 1);
  });
}
