// The last rejected parts: small pictures, and one of them enlarged.
// Knows which are kept and which of them is looked at. Does not know why they were rejected.

import { clock, get } from "./live.js";
import { decode, draw, release } from "./picture.js";
import { which, why } from "./verdict.js";
import { make, newShape, time } from "./words.js";

const PAUSE_MS = 150; // between fetches: on a line of bad parts pictures must not crowd out the live one
const HOLD_MS = 15000; // a pointer may lie on the list of a screen on a wall for weeks
const FORGOTTEN_MS = 120000; // so may an enlarged picture be left open
const SMALL = { picture: true, map: false, outline: true };

const list = document.getElementById("rejects-list");
const note = document.getElementById("rejects-note");
const dialog = document.getElementById("enlarged");
const large = document.getElementById("enlarged-picture");
const tiles = new Map(); // key -> {part, button, canvas, layers}
let order = []; // keys, newest first
let open = null;
let touched = -Infinity; // when somebody last moved the pointer or pressed a key
let show = { picture: true, map: true, outline: true };

/** Take the list of a view; while somebody points at the list it stays as it is. */
export function tellRejects(run, parts) {
  const idle = clock() - touched;
  if (dialog.open && idle > FORGOTTEN_MS) dialog.close();
  const pointed = list.matches(":hover") || list.contains(document.activeElement);
  if ((dialog.open || (pointed && idle < HOLD_MS)) && order.length) {
    note.textContent = "held while you look";
    return;
  }
  note.textContent = parts.length ? `newest first, ${parts.length} kept` : "none yet";
  order = parts.map((part) => `${run}.${part.number}`);
  for (const [key, tile] of tiles) {
    if (order.includes(key)) continue;
    release(tile.layers);
    tile.button.parentElement.remove();
    tiles.delete(key);
  }
  parts.forEach((part, i) => {
    if (!tiles.has(order[i])) tiles.set(order[i], newTile(order[i], part));
    const item = tiles.get(order[i]).button.parentElement;
    if (list.children[i] !== item) list.insertBefore(item, list.children[i] || null);
  });
}

/** Draw all of them again, for another size; `toggles` are those of the live picture. */
export function redraw(toggles = show) {
  show = toggles;
  for (const tile of tiles.values()) draw(tile.canvas, tile.layers, SMALL);
  if (open) draw(large, open.layers, show);
}

function newTile(key, part) {
  const canvas = make("canvas", "");
  const words = make("span", "words", newShape(part.verdict), ` ${part.verdict} `, make("span", "", time(part.captured_ms)));
  const button = make("button", "", canvas, words);
  button.type = "button";
  button.setAttribute("aria-label", `${part.verdict}, ${which(part)}, ${time(part.captured_ms)}: enlarge`);
  const tile = { key, part, button, canvas, layers: null, asked: false };
  button.addEventListener("click", () => enlarge(tile));
  make("li", "", button);
  return tile;
}

function enlarge(tile) {
  open = tile;
  const place = order.indexOf(tile.key);
  document.getElementById("enlarged-title").replaceChildren(newShape(tile.part.verdict), ` ${tile.part.verdict}`);
  document.getElementById("enlarged-words").textContent =
    `${why(tile.part)}. ${which(tile.part)}, ${time(tile.part.captured_ms)}`;
  document.getElementById("enlarged-place").textContent = `${place + 1} of ${order.length}`;
  document.getElementById("enlarged-newer").disabled = place <= 0;
  document.getElementById("enlarged-older").disabled = place < 0 || place >= order.length - 1;
  large.setAttribute("aria-label", tile.layers && tile.layers.picture ? "Picture of the rejected part" : "No picture");
  if (!dialog.open) dialog.showModal();
  draw(large, tile.layers, show);
}

function step(by) {
  const next = tiles.get(order[order.indexOf(open.key) + by]);
  if (next) enlarge(next);
}

for (const kind of ["pointermove", "pointerdown", "keydown"]) {
  document.addEventListener(kind, () => { touched = clock(); }, { passive: true });
}
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
});
dialog.addEventListener("close", () => {
  const tile = open;
  open = null;
  if (tile && tile.button.isConnected) tile.button.focus();
});
document.getElementById("enlarged-close").addEventListener("click", () => dialog.close());
document.getElementById("enlarged-newer").addEventListener("click", () => step(-1));
document.getElementById("enlarged-older").addEventListener("click", () => step(1));

/** Fetch the pictures that are missing, the newest first, one at a time, for ever. */
async function fetchAll() {
  for (;;) {
    const tile = order.map((key) => tiles.get(key)).find((one) => one && !one.asked);
    if (tile && !document.hidden) {
      tile.asked = true;
      try {
        tile.layers = await decode(await get(`reject?key=${encodeURIComponent(tile.key)}`));
        draw(tile.canvas, tile.layers, SMALL);
        if (open === tile) enlarge(tile);
        if (!tile.layers.picture) tile.canvas.replaceWith(make("span", "nothing", "no picture"));
      } catch (error) {
        tile.asked = error.status === 404; // gone meanwhile; everything else is tried again
      }
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}
fetchAll();
