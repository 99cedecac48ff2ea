// The signs of the statuses, for the filters' buttons.

/** Paints the sign of a status, as the tree shows it. */
function paintStatus(canvas, name, theme) {
  const [size, ratio] = [14, 2];
  canvas.width = canvas.height = size * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.translate(size / 2, size / 2);
  context.beginPath();
  const circle = (r) => { context.moveTo(r, 0); context.arc(0, 0, r, 0, 2 * Math.PI); };
  if (name === "failed") {
    context.moveTo(-4, -4); context.lineTo(4, 4); context.moveTo(4, -4); context.lineTo(-4, 4);
  } else if (name === "limit") context.rect(-4.5, -4.5, 9, 9);
  else circle({ ended: 3.4, open: 5, proposed: 3.4 }[name]);
  if (name === "open" || name === "limit" || name === "ended") {
    context.fillStyle = theme.faint;
    context.fill();
  }
  if (name === "ended") circle(6);
  context.strokeStyle = { failed: theme.bad, proposed: theme.faint }[name] ?? theme.ink;
  context.lineWidth = name === "failed" ? 2.2 : 1.1;
  context.stroke();
}
