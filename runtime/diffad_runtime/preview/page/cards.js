// Tables of the run's state, as the device words them. Knows rows. Does not know what they mean.

import { make } from "./words.js";

const SIGNS = { ok: "●", warn: "▲", bad: "◆" };
const MEANS = { ok: "well", warn: "to be looked after", bad: "fault" };

const place = document.getElementById("cards");
const list = document.getElementById("alerts");
let shown = "";
let alerted = "";

export function tellCards(cards) {
  const text = JSON.stringify(cards);
  if (text === shown) return;
  shown = text;
  place.replaceChildren(...cards.map(card));
}

export function tellAlerts(alerts) {
  const text = JSON.stringify(alerts);
  if (text === alerted) return;
  alerted = text;
  list.parentElement.hidden = !alerts.length;
  list.replaceChildren(...alerts.map((one) => make("li", one.level, sign(one.level), ` ${one.text}`)));
}

function card({ title, head, rows, note }) {
  const table = make("table", "");
  if (head.length) {
    const cells = head.map((name) => {
      const cell = make("th", "", name);
      cell.scope = "col";
      return cell;
    });
    table.append(make("thead", "", make("tr", "", ...cells)));
  }
  table.append(make("tbody", "", ...rows.map((one) => row(one, head.length > 0))));
  const parts = [make("h2", "", title)];
  if (note) parts.push(make("p", "note", note));
  if (rows.length) parts.push(table);
  return make("section", "card", ...parts);
}

function row({ cells, level }, wide) {
  const [first, ...others] = cells;
  const header = make("th", "", first);
  header.scope = "row";
  const values = others.map((text) => make("td", "", text));
  if (level) (wide ? header : values[0]).prepend(sign(level), " ");
  return make("tr", level, header, ...values);
}

/** A level as a sign with a shape of its own, and in words for whoever does not see it. */
function sign(level) {
  const mark = make("span", `sign ${level}`, SIGNS[level]);
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", MEANS[level]);
  return mark;
}
