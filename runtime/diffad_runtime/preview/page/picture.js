// Draws one part: picture, anomaly map over it, outlines of the mask; each can be left out.
// Knows pixels of a canvas. Does not know where they come from, nor whether they are new.

// Inferno, by Nathaniel Smith and Stefan van der Walt (CC0), at equal steps: readable without seeing red or green.
const INFERNO = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85],
  [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164],
];
const MOST_HEAT = 0.65; // the part stays visible under it

/** {picture, warmth, outlines, width, height} to draw from; free it with `release`. */
export async function decode(view) {
  const layers = view.words.layers;
  const [picture, map] = await Promise.all([view.picture, view.map].map((blob) =>
    blob ? createImageBitmap(blob, { colorSpaceConversion: "none" }) : null));
  const warmth = map && read(map);
  if (map) map.close();
  return { picture, warmth, outlines: layers.outlines, width: layers.width, height: layers.height };
}

export function release(part) {
  if (part && part.picture) part.picture.close();
}

/** Fill the canvas, keeping the part's proportions. `show` is {picture, map, outline}. */
export function draw(canvas, part, show) {
  const scale = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = Math.max(1, Math.round(canvas.clientHeight * scale));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (!part || !part.picture) return;
  const zoom = Math.min(width / part.picture.width, height / part.picture.height);
  pen.translate((width - part.picture.width * zoom) / 2, (height - part.picture.height * zoom) / 2);
  pen.scale(zoom, zoom);
  pen.imageSmoothingQuality = "high";
  if (show.picture) pen.drawImage(part.picture, 0, 0);
  if (show.map && part.warmth) {
    pen.drawImage(coloured(part.warmth, show.picture ? MOST_HEAT : 0), 0, 0, part.picture.width, part.picture.height);
  }
  if (show.outline) outline(pen, part.outlines, scale / zoom);
}

function outline(pen, outlines, unit) {
  pen.beginPath();
  for (const points of outlines) {
    if (points.length < 6) pen.rect(points[0] - 2 * unit, points[1] - 2 * unit, 4 * unit, 4 * unit);
    else {
      pen.moveTo(points[0], points[1]);
      for (let i = 2; i < points.length; i += 2) pen.lineTo(points[i], points[i + 1]);
      pen.closePath();
    }
  }
  pen.lineJoin = "round";
  for (const [colour, wide] of [["#000", 4.5], ["#fff", 2]]) { // seen on dark and on bright parts
    pen.strokeStyle = colour;
    pen.lineWidth = wide * unit;
    pen.stroke();
  }
}

function read(map) {
  const { pen } = sheet(map.width, map.height);
  pen.drawImage(map, 0, 0);
  return pen.getImageData(0, 0, map.width, map.height);
}

/** A canvas of the map: `most` is its opacity where it is hottest, 0 makes all of it opaque. */
function coloured(warmth, most) {
  const { canvas, pen } = sheet(warmth.width, warmth.height);
  const painted = pen.createImageData(warmth.width, warmth.height);
  for (let i = 0; i < painted.data.length; i += 4) {
    const value = warmth.data[i];
    painted.data.set(LUT[value], i);
    painted.data[i + 3] = most ? value * most : 255;
  }
  pen.putImageData(painted, 0, 0);
  return canvas;
}

function sheet(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return { canvas, pen: canvas.getContext("2d", { willReadFrequently: true }) };
}

const LUT = Array.from({ length: 256 }, (_, value) => {
  const at = (value / 255) * (INFERNO.length - 1);
  const low = Math.min(Math.floor(at), INFERNO.length - 2);
  return INFERNO[low].map((from, i) => Math.round(from + (at - low) * (INFERNO[low + 1][i] - from)));
});
