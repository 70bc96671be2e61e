// The page: puts each view where it belongs, and says loudly when what is shown is old.
// Knows the order of things. Does not know how any of them is drawn.

import { tellAlerts, tellCards } from "./cards.js";
import { clock, follow } from "./live.js";
import { decode, draw, release } from "./picture.js";
import { redraw, tellRejects } from "./rejects.js";
import { describe, drawStrip } from "./strip.js";
import { Pace, speak, tell, which, why } from "./verdict.js";
import { ago, shape } from "./words.js";

const LOST_MS = 3000; // a second net: asking gives up by itself after as long
const STALE_S = 3;

const at = (id) => document.getElementById(id);
const show = { picture: true, map: true, outline: true };
const pace = new Pace();
let words = null; // of the newest view
let part = null; // what is drawn
let drawnFor = null; // the part of the run that it shows
let arrived = -Infinity;
let fault = null;
let paused = false; // nobody saw the page for a while, and the device was not asked
let reloading = false;
let newestReject = 0;
let knownRun = "";

const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };

async function onView(view) {
  if (words && words.page !== view.words.page && !reloading) { // the device was updated
    reloading = true;
    location.reload();
    return;
  }
  if (view.words.layers) {
    const next = await decode(view);
    release(part);
    part = next;
    drawnFor = { part: view.words.newest, arrived: view.arrived };
    draw(at("picture"), part, show);
  } else if (view.words.newest && drawnFor) drawnFor = { part: view.words.newest, arrived: view.arrived };
  words = view.words;
  arrived = view.arrived;
  fault = null;
  paused = document.hidden;
  if (knownRun !== words.run) [knownRun, newestReject] = [words.run, 0];

  setText(at("title"), words.title || "Inspection");
  if (document.title !== (words.title || "Inspection")) document.title = words.title || "Inspection";
  setText(at("count-ok"), words.counts.OK);
  setText(at("count-ng"), words.counts.NG);
  setText(at("count-error"), words.counts.ERROR);
  setText(at("rate"), words.rate);
  tellAlerts(words.alerts);
  tellCards(words.cards);
  tellRejects(words.run, words.rejects);
  drawScores();
  look();
}

/** Parts that came and went between two views count as well: the worst of them is what must be seen. */
function worstSince() {
  const fresh = words.rejects.filter((one) => one.number > newestReject && one.age_s < 2);
  newestReject = Math.max(newestReject, ...words.rejects.map((one) => one.number));
  return fresh.find((one) => one.verdict === "ERROR") || fresh[0] || words.newest;
}

function drawScores() {
  drawStrip(at("strip"), words.strip, words.strip_most);
  at("strip").setAttribute("aria-label", describe(words.strip));
  setText(at("scores-note"), words.strip.scores.length ? `last ${words.strip.scores.length} results` : "");
}

/** What depends on time alone, as the age of a picture whose successor does not come. */
function look() {
  const now = clock();
  const lost = fault !== null || (words !== null && !paused && now - arrived > LOST_MS);
  const state = lost ? "lost" : words === null || paused ? "waiting" : "live";
  if (document.body.dataset.connection !== state) {
    document.body.dataset.connection = state;
    shape(at("connection").querySelector(".shape"), { lost: "ERROR", waiting: "none", live: "OK" }[state]);
    setText(at("connection").querySelector("span"), { lost: "connection lost", waiting: "connecting", live: "connected" }[state]);
  }
  const age = drawnFor ? drawnFor.part.age_s + (now - drawnFor.arrived) / 1000 : 0;
  const notice = lost ? lostWords(now) : "";
  setText(at("lost"), notice);
  at("lost").hidden = !lost;
  tellAge(age, lost);
  if (lost) tell(null, "no connection");
  else if (paused) tell(null, "paused");
  else if (!words || !words.newest) tell(null);
  else tellVerdict(now);
}

function lostWords(now) {
  if (fault && fault.status === 401) return "This device asks for its token again: load the page again.";
  if (fault && fault.status === 503) return "All viewers' places on this device are taken. Trying again.";
  if (fault && fault.status >= 400) return `The device cannot say how it is (${fault.status}: ${fault.message}).`;
  const since = words ? ` for ${ago((now - arrived) / 1000)}. What you see is old` : "";
  return `Connection to the device lost${since}.`;
}

function tellAge(age, lost) {
  const stage = document.querySelector("#live .stage");
  const old = drawnFor !== null && !lost && age > STALE_S;
  stage.dataset.state = lost || paused ? "lost" : old ? (words.triggered ? "waiting" : "old") : "live";
  const covering = at("covering");
  let text = "";
  if (lost) text = drawnFor ? `NOT LIVE: ${ago(age)} old` : "no connection";
  else if (!drawnFor) text = "no picture yet";
  else if (paused) text = `NOT LIVE: ${ago(age)} old`;
  else if (!part.picture) text = "this part has no picture";
  else if (old && !words.triggered) text = `NOT LIVE: ${ago(age)} old`;
  setText(covering, text);
  covering.hidden = !text;
  const label = !drawnFor ? "" : lost ? `old: ${ago(age)}` : old ? `last part, ${ago(age)} ago` : `live, ${ago(age)} old`;
  setText(at("age"), label);
  if (!drawnFor) return;
  setText(at("caption"), `${drawnFor.part.verdict}, ${which(drawnFor.part)}`);
  const name = text || `Picture of ${which(drawnFor.part)}, ${drawnFor.part.verdict}, ${drawnFor.part.defects} defects`;
  if (at("picture").getAttribute("aria-label") !== name) at("picture").setAttribute("aria-label", name);
}

function tellVerdict(now) {
  const shown = pace.show(worstSince(), now);
  tell(shown);
  speak(`${shown.verdict}, ${why(shown)}`);
}

for (const name of Object.keys(show)) {
  const box = at(`show-${name}`);
  show[name] = box.checked; // a browser may remember them
  box.addEventListener("change", () => {
    show[name] = box.checked;
    draw(at("picture"), part, show);
    redraw(show);
  });
}
new ResizeObserver(() => {
  draw(at("picture"), part, show);
  redraw(show);
  if (words) drawScores();
}).observe(at("live"));

document.addEventListener("visibilitychange", () => {
  paused = true;
  look();
});
setInterval(look, 200);
follow({
  onView,
  onFault: (error) => {
    fault = error;
    look();
  },
});
