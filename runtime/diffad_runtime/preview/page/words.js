// Small things that all parts of the page say in the same way.
// Whatever comes from the device is set as text, never as HTML.

export const SHAPES = { OK: "shape-ok", NG: "shape-ng", ERROR: "shape-error", none: "shape-none" };

/** Let an svg show a verdict's shape in its colour. */
export function shape(svg, verdict) {
  svg.dataset.verdict = verdict;
  svg.querySelector("use").setAttribute("href", `#${SHAPES[verdict]}`);
  return svg;
}

export function newShape(verdict) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.classList.add("shape");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "use"));
  return shape(svg, verdict);
}

/** An element with a class, texts and other elements in it. */
export function make(tag, className, ...inside) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...inside);
  return element;
}

/** Three digits that matter; what is no number is a dash. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size >= 100 || size === 0 ? value.toFixed(0) : size >= 0.01 ? value.toPrecision(3) : value.toExponential(1);
}

/** Seconds as people say them. */
export function ago(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

export const time = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });
