// The strip of the last scores, with the threshold, and a shape for each part that was rejected.
// Knows scales and marks. Does not know where scores come from.

import { number } from "./words.js";

const EDGE = 8;

/**
 * The scores that the strip's top and bottom stand for. The threshold keeps a quarter of the height below it: what is
 * far above it, as a few bad parts are, is drawn at the top edge, or good parts would lie on one line.
 */
export function range(scores, thresholds) {
  const known = [...scores, ...thresholds].filter((value) => value !== null);
  if (!known.length) return [0, 1];
  const limit = Math.max(...thresholds.filter((value) => value !== null), -Infinity);
  const low = Math.min(...known);
  const below = Math.max(limit - low, Math.abs(limit) * 0.1, 1e-6);
  return [low - 0.1 * below, Math.min(Math.max(...known), limit + 2.2 * below) + 0.25 * below];
}

export function drawStrip(canvas, strip, most) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  const [low, high] = range(strip.scores, strip.thresholds);
  const count = strip.scores.length;
  const step = (width - 2 * EDGE) / Math.max(most - 1, 1);
  const x = (i) => width - EDGE - (count - 1 - i) * step;
  const y = (value) => EDGE + (1 - (Math.min(value, high) - low) / (high - low)) * (height - 2 * EDGE);

  pen.strokeStyle = colour("--text");
  pen.lineWidth = 1.5;
  pen.setLineDash([6, 4]);
  pen.beginPath();
  for (let i = 0; i < count; i += 1) { // a recipe may have another threshold: then it steps
    const at = strip.thresholds[i];
    if (at === null) continue;
    pen.lineTo(i === 0 ? 0 : x(i) - step / 2, y(at));
    pen.lineTo(i === count - 1 ? width : x(i) + step / 2, y(at));
  }
  pen.stroke();
  pen.setLineDash([]);

  for (let i = 0; i < count; i += 1) {
    const verdict = strip.verdicts[i];
    if (verdict === "O") dot(pen, x(i), y(strip.scores[i]), colour("--ok"));
    else if (verdict === "N") diamond(pen, x(i), y(strip.scores[i]), colour("--ng"), colour("--panel"));
    else triangle(pen, x(i), height - EDGE, colour("--error"), colour("--text"));
  }
  const last = strip.thresholds[count - 1];
  if (last !== null && last !== undefined) label(pen, `threshold ${number(last)}`, y(last), colour);
}

/** In words, for whoever does not see it. */
export function describe(strip) {
  const of = (letter) => strip.verdicts.split(letter).length - 1;
  const last = strip.scores[strip.scores.length - 1];
  return `Scores of the last ${strip.scores.length} results: ${of("O")} OK, ${of("N")} NG, ${of("E")} ERROR. ` +
    `Last score ${number(last)}, threshold ${number(strip.thresholds[strip.thresholds.length - 1])}.`;
}

function label(pen, text, y, colour) {
  pen.font = "12px system-ui, sans-serif";
  const wide = pen.measureText(text).width;
  pen.fillStyle = colour("--panel");
  pen.globalAlpha = 0.85;
  pen.fillRect(4, y - 18, wide + 8, 15);
  pen.globalAlpha = 1;
  pen.fillStyle = colour("--text");
  pen.fillText(text, 8, y - 6);
}

function dot(pen, x, y, fill) {
  pen.fillStyle = fill;
  pen.beginPath();
  pen.arc(x, y, 2, 0, 2 * Math.PI);
  pen.fill();
}

function diamond(pen, x, y, fill, rim) {
  polygon(pen, [[x, y - 6], [x + 6, y], [x, y + 6], [x - 6, y]], fill, rim);
}

function triangle(pen, x, y, fill, rim) {
  polygon(pen, [[x, y - 7], [x + 6, y + 4], [x - 6, y + 4]], fill, rim);
}

function polygon(pen, points, fill, rim) {
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(x, y);
  pen.closePath();
  pen.fillStyle = fill;
  pen.fill();
  pen.strokeStyle = rim;
  pen.lineWidth = 1;
  pen.stroke();
}
