// Asks the device for views, one after the other, for as long as somebody looks.
// Knows how a view is packed and when the device must count as lost. Does not know what is on the page.

const LONGEST_MS = 3000; // the device answers every second, also where nothing is new
const PAUSE_MS = 1000;

let past = 0;
let monotonic = performance.now();
let wall = Date.now();

/** Milliseconds that never go back. The browser's own monotonic clock may stand still while the machine sleeps. */
export function clock() {
  const [now, date] = [performance.now(), Date.now()];
  const slept = date - wall - (now - monotonic);
  past += now - monotonic + (slept > 1000 ? slept : 0);
  [monotonic, wall] = [now, date];
  return past;
}

/** {words, picture, map}: JSON, and blobs or null. */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const words = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const at = 4 + length;
  const pictures = words.layers ? words.layers.picture_bytes : 0;
  const maps = words.layers ? words.layers.map_bytes : 0;
  return {
    words,
    picture: pictures ? new Blob([new Uint8Array(buffer, at, pictures)], { type: "image/jpeg" }) : null,
    map: maps ? new Blob([new Uint8Array(buffer, at + pictures, maps)], { type: "image/png" }) : null,
  };
}

/** Fetch and unpack; throws an Error whose `status` is HTTP's, 0 where the device did not answer. */
export async function get(path, giveUp = new AbortController()) {
  const timer = setTimeout(() => giveUp.abort(), LONGEST_MS);
  try {
    const answer = await fetch(path, { signal: giveUp.signal, cache: "no-store" });
    const arrived = clock();
    if (!answer.ok) {
      throw Object.assign(new Error((await answer.text()).slice(0, 200).trim()), { status: answer.status });
    }
    return { ...unpack(await answer.arrayBuffer()), arrived };
  } catch (error) {
    throw error.status === undefined ? Object.assign(new Error("no answer"), { status: 0 }) : error;
  } finally {
    clearTimeout(timer);
  }
}

function name() {
  const bytes = crypto.getRandomValues(new Uint8Array(12)); // randomUUID is for https only
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const looking = () => new Promise((resolve) => {
  if (!document.hidden) return resolve();
  document.addEventListener("visibilitychange", function look() {
    if (document.hidden) return;
    document.removeEventListener("visibilitychange", look);
    resolve();
  });
});

/**
 * Follow the device for ever, as long as the page is seen.
 * onView gets each view and is waited for; onFault gets the error of each view that did not come.
 */
export async function follow({ onView, onFault }) {
  const viewer = name();
  let seen = "";
  let asking = null;
  let leaving = false;
  // Its place goes to somebody else at once. A browser that loads the page again keeps this one until it has the new
  // one, which the device may not give before there is a place for it.
  document.addEventListener("visibilitychange", () => { if (document.hidden && asking) asking.abort(); });
  window.addEventListener("beforeunload", () => {
    leaving = true;
    if (asking) asking.abort();
  });
  for (;;) {
    await looking();
    asking = new AbortController();
    try {
      const view = await get(`view?viewer=${viewer}&seen=${encodeURIComponent(seen)}`, asking);
      await onView(view);
      seen = `${view.words.run}.${view.words.number}`;
    } catch (error) {
      if (leaving) await pause(4 * PAUSE_MS); // and if it did not leave after all
      else if (!document.hidden) {
        onFault(error);
        await pause(error.status === 503 ? 5 * PAUSE_MS : PAUSE_MS);
      }
      leaving = false;
    }
  }
}
