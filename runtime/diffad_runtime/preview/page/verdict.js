// The verdict in words, shape and colour, slow enough to be read and never flashing.
// Knows which of many verdicts a person should see. Does not know where they come from.

import { clock } from "./live.js";
import { number, shape } from "./words.js";

const HOLD_MS = 700; // at most three changes back and forth in two seconds: WCAG 2.3.1 allows three flashes in one
const SPEAK_MS = 3000;
const RANK = { none: 0, OK: 1, NG: 2, ERROR: 3 };

/** Which part to show: the worst of the last moments. One that is as bad replaces the one before. */
export class Pace {
  constructor() {
    this.part = null;
    this.since = -Infinity;
  }

  /** The part to show now, the newest being `part`. */
  show(part, now) {
    const better = this.part !== null && RANK[part.verdict] < RANK[this.part.verdict];
    if (!better || now - this.since >= HOLD_MS) {
      this.part = part;
      this.since = now;
    }
    return this.part;
  }
}

const box = document.getElementById("verdict");
const spoken = document.getElementById("spoken");
let spokenAt = -Infinity;
let said = "";

/** Show a part's verdict; null: there is none to show, and `word` says why. */
export function tell(part, word = "no part yet") {
  const verdict = part ? part.verdict : "none";
  if (box.dataset.verdict !== verdict) {
    box.dataset.verdict = verdict;
    shape(box.querySelector(".shape"), verdict);
  }
  box.querySelector(".word").textContent = part ? verdict : word;
  box.querySelector(".why").textContent = part ? why(part) : "";
  box.querySelector(".which").textContent = part ? which(part) : "";
}

/** For screen readers, and no more often than can be listened to. */
export function speak(text) {
  const now = clock();
  if (text === said || now - spokenAt < SPEAK_MS) return;
  spokenAt = now;
  said = text;
  spoken.textContent = text;
}

export function why(part) {
  if (part.verdict === "ERROR") return part.error || part.code;
  return `score ${number(part.score)}, threshold ${number(part.threshold)}`;
}

export function which(part) {
  const names = [part.part && `part ${part.part}`, part.name, part.frame >= 0 && `frame ${part.frame}`];
  return names.filter(Boolean).join(", ") + (part.recipe ? `, recipe ${part.recipe}` : "");
}
