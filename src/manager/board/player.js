
// ---- The player: a run that was recorded into this file (record.rs has the form of its lines). The states before a moment,
// from the last whole one on, make what the board showed then; the clock of the page is set to that moment.

const run = { states: [], events: [], from: 0, to: 0, at: 0, next: 0, state: null };

/** An age counts from the moment of its line: it is kept as a time, and is an age again when it is shown. */
const read = (line) => JSON.parse(line.replace(/"since_ms_ago":(\d+)/g, (_, ms) => `"since_ms_ago":${ms - atOf(line)}`));
const atOf = (line) => Number(line.slice(6, line.indexOf(",")));
const aged = (state) => JSON.parse(JSON.stringify(state), (key, it) => (key === "since_ms_ago" ? it + run.at : it));

/** Shows the run at a moment. */
function play(at) {
  const behind = (line) => line.at > at;
  const end = run.states.findIndex(behind), states = end < 0 ? run.states.length : Math.max(end, 1);
  const whole = run.states.slice(0, states).findLastIndex((line) => line.whole);
  if (at < run.at || at - run.at > MINUTES) {
    // What the page remembers is of another time.
    for (const memory of [page.began, page.finished, page.running]) memory.clear();
    page.rates = [];
    page.told = null;
    run.next = 0;
  }
  run.next = Math.max(run.next, whole);
  for (; run.next < states; run.next++) {
    const { state, change } = read(run.states[run.next].text);
    run.state = state ?? patched(run.state, change);
  }
  run.at = at;
  page.offset = at - Date.now();
  page.state = aged(run.state);
  page.heard = at;
  hear(page.state);
  showAll();
  const events = run.events.findIndex(behind);
  $("jump").selectedIndex = (events < 0 ? run.events.length : events) - 1;
  $("slider").value = at - run.from;
  mark($("slider"), "aria-valuetext", clock(at));
  say($("played"), `${clock(at)} of ${clock(run.from)} to ${clock(run.to)}`);
}

function tick() {
  const began = Date.now();
  setTimeout(() => {
    if (!page.paused) {
      play(Math.min(run.to, run.at + (Date.now() - began) * Number($("speed").value)));
      if (run.at === run.to) $("pause").click();
    }
    tick();
  }, 200);
}

document.addEventListener("DOMContentLoaded", () => {
  for (const text of $("run").textContent.split("\n")) {
    try {
      const { at, event, state, change } = JSON.parse(text);
      if (event) run.events.push({ at, event });
      if (state || (change && run.states.length > 0)) run.states.push({ at, text, whole: Boolean(state) });
    } catch { /* The last line may have been cut off. */ }
  }
  say($("where"), "a run that was recorded");
  if (run.states.length === 0) return;
  [run.from, run.to] = [run.states[0].at, Math.max(run.states.at(-1).at, run.events.at(-1)?.at ?? 0)];
  say($("where"), `a run that was recorded on ${new Date(run.from).toLocaleDateString("en-GB")}`);
  $("slider").max = run.to - run.from;
  for (const { at, event } of run.events) {
    $("jump").append(new Option(`${clock(at)} ${event}`, at));
    $("marks").append(new Option("", at - run.from));
  }
  $("slider").addEventListener("input", () => play(run.from + Number($("slider").value)));
  $("jump").addEventListener("change", () => play(Math.max(run.from, Number($("jump").value))));
  $("pause").addEventListener("click", () => { if (!page.paused && run.at === run.to) play(run.from); });
  play(run.from);
  tick();
});
