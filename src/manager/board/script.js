// The board: asks the manager for its state twice a second and shows it.
//
// Three rules. All text from the network goes in as textContent, never as HTML: `<b>` is a legal file name.
// What is there is changed, never built again, so that motion, focus and a reader's place stay. And lists are
// cut where a room could not read them anyway, and say how many more there are.
"use strict";

/** The pause between two questions, in ms; "a second at most behind" with room for the answer. */
const PAUSE = 500;
/** The same while the manager does not answer. */
const RETRY = 1000;
/** How long an answer may take. */
const PATIENCE = 4000;
/** The least time between two sentences of the live region. */
const NEWS_PAUSE = 5000;
/** How many of each are shown before the rest is only counted; a press on the button shows up to MOST. */
const CAPS = { peer: 12, queue: 6, lease: 4, event: 10, file: 10 };
const MOST = 200;
/** Boxes of one peer, cells of one multiply, copies of one file. */
const SLOTS = 16, CELLS = 343, COPIES = 12;
/** How long a finished download stays, in ms. */
const FINISHED = 30000;
/** From so many peers on, each is a tile of a grid; from so many copies on, a whole file is one line. */
const TILES = 8, LINE = 7;
/** How far back the line of the network's rate goes, in ms. */
const MINUTES = 5 * 60000;
/** In how many parts a peer tells what it has of a file. */
const MAP = 256;
/** What the seven products of Strassen stand for. */
const SUMS = [["A11+A22", "B11+B22"], ["A21+A22", "B11"], ["A11", "B12−B22"], ["A22", "B21−B11"],
  ["A11+A12", "B22"], ["A21−A11", "B11+B12"], ["A12−A22", "B21+B22"]];

const page = {
  state: null, tag: null, offset: 0,
  heard: null, gone: null, paused: false, began: new Map(),
  open: new Set(), colours: new Map(), finished: new Map(), running: new Map(),
  told: null, news: [], spoke: 0, rates: [],
  alone: new URLSearchParams(location.search).get("show"),
};

const $ = (id) => document.getElementById(id);
const part = (node, name) => node.querySelector(`[data-part=${name}]`);
const make = (template) => $(template).content.firstElementChild.cloneNode(true);
const now = () => Date.now() + page.offset;

function say(node, text) {
  text = String(text);
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Makes the children of `parent` those of `items`: kept by key, in order, and filled. */
function list(parent, items, key, build, fill) {
  const old = parent.kept ?? new Map(), kept = new Map();
  items.forEach((item, i) => kept.set(key(item, i), old.get(key(item, i)) ?? build(item)));
  for (const [k, node] of old) if (!kept.has(k)) node.remove();
  let i = 0;
  for (const node of kept.values()) {
    if (parent.children[i] !== node) parent.insertBefore(node, parent.children[i] ?? null);
    fill(node, items[i], i);
    i += 1;
  }
  parent.kept = kept;
}

/** A list that is cut, with its empty words and the count of what is left out; `beyond` counts what is not even here. */
function capped(kind, items, key, fill, beyond = 0) {
  const parent = $(`${kind}-list`), more = $(`${kind}-more`);
  const most = page.open.has(kind) ? MOST : CAPS[kind] * (page.alone ? 4 : 1);
  const shown = items.slice(0, most), rest = items.length - shown.length + beyond;
  list(parent, shown, key, () => make(TEMPLATES[kind]), fill);
  document.querySelector(`[data-for=${kind}-list]`).hidden = items.length > 0;
  more.hidden = rest === 0 && !page.open.has(kind);
  say(more.firstElementChild, rest > 0 ? `and ${rest} more` : "");
  const button = more.lastElementChild;
  button.hidden = items.length <= most && !page.open.has(kind);
  say(button, page.open.has(kind) ? "Show fewer" : `Show ${items.length > MOST ? `the first ${MOST}` : "all"}`);
  mark(button, "aria-expanded", String(page.open.has(kind)));
}
const TEMPLATES = { peer: "t-peer", queue: "t-waiter", lease: "t-lease", event: "t-event", file: "t-file" };

// ---- Words

const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

/** A size; a large number needs no tenths, where there is little room. */
function bytes(n, tenths = 1) {
  for (const [unit, scale] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (n >= (tenths > 0 ? scale : .97 * scale)) return `${(n / scale).toFixed(n / scale < 10 ? 1 : tenths)}\u00a0${unit}`;
  }
  return `${n}\u00a0B`;
}

function span(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor(s / 60 % 60)} min`;
}

/** A time of the manager on this computer's clock. */
const clock = (ms) => new Date(ms - ($("player") ? 0 : page.offset)).toLocaleTimeString("en-GB");

/** "3 at ada, 2 at ben". */
const places = (cards) => cards.slice(0, COPIES).map((card) => `${card.slots} at ${card.name}`).join(", ")
  + (cards.length > COPIES ? `, and at ${cards.length - COPIES} more` : "");

/** A name for a small box: its beginning, or what tells `lab-017` from `lab-018`. */
function short(name, most) {
  if (name.length <= most) return name;
  const number = /\d+$/.exec(name)?.[0].slice(1 - most);
  return number ? `…${number}` : `${name.slice(0, most - 1)}…`;
}

/** The same peer has the same colour for as long as this page is open; its name always stands beside it. Where there
    are more peers than colours, a mark tells those of one colour apart. */
function colour(name) {
  if (!page.colours.has(name)) page.colours.set(name, page.colours.size);
  const n = page.colours.get(name);
  return [`who-${n % 8}`, `mark-${Math.min(5, Math.floor(n / 8))}`];
}

function paint(node, name) {
  const to = name ? colour(name) : [];
  if (String(node.painted ?? []) === String(to)) return;
  node.classList.remove(...node.painted ?? []);
  node.classList.add(...to);
  node.painted = to;
}

function tag(node, name) {
  say(node, name);
  paint(node, name);
}

/** What number `peer` is called: as told, as listed, or not at all. */
const called = (told, peer) => told || page.names.get(peer) || (peer ? `number ${peer}` : "somebody");

// ---- Peers

function showPeers(state) {
  const hosts = state.peers.filter((peer) => peer.slots > 0);
  const guests = state.peers.filter((peer) => peer.slots === 0);
  const leased = new Map();
  for (const lease of state.leases) {
    for (const card of lease.slots) {
      const names = leased.get(card.peer) ?? [];
      for (let i = 0; i < card.slots && names.length < 1024; i += 1) names.push(called(lease.name, lease.peer));
      leased.set(card.peer, names);
    }
  }
  const tiles = hosts.length >= TILES, noted = tiles ? state.peers.filter((peer) => notes(peer).length > 0) : [];
  $("peer-list").classList.toggle("tiles", tiles);
  // A tile has no room for a reason: they stand below, as large as names.
  list($("peer-notes"), noted.slice(0, 3), (peer) => peer.peer, () => make("t-note"), (node, peer) => {
    tag(part(node, "tag"), peer.name);
    say(part(node, "note"), notes(peer).join(" — ") + (peer === noted[2] && noted.length > 3 ? ` — and so ${noted.length - 3} more` : ""));
  });
  capped("peer", hosts, (peer) => peer.peer, (row, peer) => {
    tag(part(row, "tag"), peer.name);
    say(part(row, "addr"), peer.addr);
    showSlots(part(row, "slots"), peer, leased.get(peer.peer) ?? []);
    say(part(row, "caps"), caps(peer));
    const up = total(peer.uploads, "up"), down = total(peer.downloads, "bytes_per_s");
    say(part(row, "flow"), up + down > 0 ? `↑\u00a0${bytes(up, 0)}/s ↓\u00a0${bytes(down, 0)}/s` : "");
    say(part(row, "note"), notes(peer).join(" — "));
    row.classList.toggle("noted", notes(peer).length > 0);
  }, state.peers_left_out);
  $("guests").hidden = guests.length === 0;
  const rest = guests.length - COPIES;
  list($("guest-list"), guests.slice(0, COPIES), (peer) => peer.peer, () => document.createElement("b"), (node, peer) => {
    node.className = "tag";
    node.painted = null;
    tag(node, peer.name);
    mark(node, "title", caps(peer));
  });
  say($("guests").lastElementChild, rest > 0 ? `and ${rest} more` : "");
}

/** What is wrong at a peer, and what to do. */
function notes(peer) {
  const all = peer.paused ? [`‖ has paused: ${peer.paused}`] : [];
  if (peer.slots > 0 && !peer.leasable) all.push(`⚠ cannot be leased: ${peer.reason}`);
  for (const one of peer.failed ?? []) all.push(`✕ lacks ${one.file}: it ${one.why}`);
  return all.length > 3 ? [...all.slice(0, 2), `and ${all.length - 2} more, which \`why\` tells`] : all;
}

const total = (rows, key) => (rows ?? []).reduce((sum, row) => sum + row[key], 0);

function caps(peer) {
  const words = [];
  if (peer.up != null) words.push(`up\u00a0≤\u00a0${bytes(peer.up)}/s`);
  if (peer.down != null) words.push(`down\u00a0≤\u00a0${bytes(peer.down)}/s`);
  return words.join(", ");
}

function showSlots(box, peer, holders) {
  box.classList.toggle("many", peer.slots > 8);
  const slots = [];
  for (let i = 0; i < Math.min(peer.slots, SLOTS); i += 1) {
    const holder = holders[i];
    slots.push({ i, holder, is: holder !== undefined ? "leased" : i < peer.used ? "ending" : "free" });
  }
  if (peer.slots > SLOTS) slots.push({ i: "more", is: "more" });
  list(box, slots, (slot) => `${slot.i} ${slot.is} ${slot.holder ?? ""}`, () => document.createElement("i"), (node, slot) => {
    node.className = slot.is === "more" ? "more-slots" : `slot ${slot.is}`;
    node.painted = null;
    if (slot.holder !== undefined) paint(node, slot.holder);
    const name = slot.holder === undefined ? "" : short(slot.holder, peer.slots > 8 ? 3 : 6);
    say(node, { leased: name, ending: "…", free: "", more: `+ ${peer.slots - SLOTS} more` }[slot.is] ?? "");
  });
  const by = new Map();
  for (const holder of holders) by.set(holder, (by.get(holder) ?? 0) + 1);
  const words = [...by].map(([holder, n]) => `${n} by ${holder}`).join(", ");
  mark(box, "aria-label", `${peer.used} of ${plural(peer.slots, "slot")} in use${words && `: ${words}`}`);
}

// ---- The queue and the leases

function showQueue(state) {
  capped("queue", state.queue, (waiter) => `${waiter.peer} ${waiter.since}`, (row, waiter) => {
    say(part(row, "place"), waiter.position);
    tag(part(row, "tag"), called(waiter.name, waiter.peer));
    say(part(row, "asked"), plural(waiter.asked, "slot"));
    say(part(row, "since"), span(now() - waiter.since));
    say(part(row, "why"), `is told: ${waiter.reason}`);
  }, state.queue_left_out);
}

function showLeases(state) {
  const quantum = state.manager?.quantum_ms ?? 30000;
  const order = [...state.leases].sort((a, b) => Boolean(b.progress) - Boolean(a.progress) || a.lease - b.lease);
  capped("lease", order, (lease) => lease.lease, (card, lease) => {
    const holder = called(lease.name, lease.peer), left = lease.until - now();
    const slots = lease.slots.reduce((sum, at) => sum + at.slots, 0);
    paint(card, holder);
    tag(part(card, "tag"), holder);
    const job = lease.progress;
    say(part(card, "what"), job
      ? `multiplies ${job.rows} × ${job.inner} by ${job.inner} × ${job.cols}`
      : `holds ${plural(slots, "slot")}`);
    say(part(card, "slots"), `${places(lease.slots)};`);
    say(part(card, "ends"), `the lease ends in ${span(left)}${state.queue.length === 0 ? " unless it is renewed" : ", for others wait"}`);
    scale(part(card, "time").firstElementChild, left / quantum);
    showCells(card, job);
  }, state.leases_left_out);
  const done = state.done ?? [];
  $("done").hidden = done.length === 0;
  list($("done-list"), [...done].reverse(), (one) => one.lease, () => document.createElement("li"), (node, one) => {
    const job = one.progress, products = count(job), again = (job.again ?? []).slice(0, 3);
    say(node, `${called(one.name, one.peer)} multiplied ${job.rows} × ${job.inner} by ${job.inner} × ${job.cols}`
      + `${one.took_ms > 0 ? ` in ${(one.took_ms / 1000).toFixed(one.took_ms < 10000 ? 2 : 1)} s` : ""}${products > 0 ? `, ${plural(products, "product")}` : ""}`
      + again.map(([number, why]) => ` — ↻ ${product(number, products).name} again: ${why}`).join(""));
  });
}

const SIGNS = { waiting: "", sent: "↑", computing: "⋯", checked: "✓" };

/** What a product is called, and the two sums that it multiplies: M1 to M7, or M3.5 for the fifth part of M3. */
function product(i, all) {
  const digits = [];
  for (let n = all; n > 1; n /= 7) digits.unshift(i % 7 + 1), i = Math.floor(i / 7);
  const [left, right] = digits.length === 1 ? SUMS[digits[0] - 1].map((sum) => sum.length > 3 ? `(${sum})` : sum) : ["", ""];
  if (digits.length === 0) return { name: "A · B", left, right, stands: "A · B" };
  const whole = digits.length > 1 ? `M${digits.at(-1)} of M${digits.slice(0, -1).join(".")}` : `${left} ${right}`;
  return { name: `M${digits.join(".")}`, left, right, stands: whole };
}

/** How many products a multiply has; of many it tells the first. */
const count = (job) => job?.all ?? job?.products.length ?? 0;

/** Whether a product was begun before and came to nothing. */
const isAgain = (one) => one.attempts > (one.state === "waiting" ? 0 : 1);

function showCells(card, job) {
  const products = job?.products ?? [], cells = part(card, "cells");
  const all = count(job), again = (job?.again ?? []).slice(0, 3);
  say(part(card, "again"), again.map(([number, why]) => `↻ ${product(number, all).name} again: ${why}`).join(" — "));
  cells.classList.toggle("dense", products.length > 14);
  cells.classList.toggle("lots", products.length > 49);
  const states = { waiting: 0, sent: 0, computing: 0, checked: 0 };
  let redone = 0;
  for (const one of products) {
    states[one.state] += 1;
    if (isAgain(one)) redone += 1;
  }
  const words = all > products.length ? [`${all - (job.unchecked ?? 0)} checked`]
    : Object.entries(states).filter(([, n]) => n > 0).map(([state, n]) => `${n} ${state}`);
  if (redone > 0) words.push(`${redone} done again`);
  if (products.length > CELLS) words.push(`the first ${CELLS} are shown`);
  say(part(card, "count"), products.length > 0 ? `${all} products: ${words.join(", ")}` : "");
  cells.hidden = products.length === 0;
  list(cells, products.slice(0, CELLS), (one) => one.product, () => make("t-cell"), (cell, one) => {
    const by = one.peer ? called(one.name, one.peer) : "";
    const redone = isAgain(one);
    mark(cell, "data-is", one.state);
    cell.classList.toggle("again", redone);
    paint(cell, one.state === "waiting" ? "" : by);
    say(part(cell, "sign"), SIGNS[one.state]);
    const is = product(one.product, all);
    say(part(cell, "m"), is.name);
    say(part(cell, "by"), one.state === "waiting" ? "" : short(by, 6));
    say(part(cell, "left"), is.left);
    say(part(cell, "right"), is.right);
    const held = one.state !== "waiting";
    say(part(cell, "word"), !redone ? one.state : held ? `try ${one.attempts}` : "again");
    const label = `${is.name} = ${is.stands}: ${redone && !held ? "waiting to be done again" : one.state}`
      + `${held ? `, ${by}` : ""}${redone && held ? `, try ${one.attempts}` : ""}`;
    mark(cell, "title", label);
    mark(cell, "aria-label", label);
  });
}

function scale(node, part) {
  node.style.transform = `scaleX(${Math.max(0, Math.min(1, part || 0))})`;
}

// ---- Files

function showFiles(state) {
  const fetching = new Map(), whole = new Set();
  for (const file of state.files) {
    for (const holder of file.holders) if (holder.whole) whole.add(`${holder.peer} ${file.file}`);
  }
  for (const peer of state.peers) {
    for (const one of peer.downloads ?? []) {
      if (whole.has(`${peer.peer} ${one.file}`)) continue;
      const all = fetching.get(one.file) ?? [];
      all.push({ ...one, name: peer.name, peer: peer.peer });
      fetching.set(one.file, all);
    }
  }
  remember(fetching, whole);
  const rank = (file) => (fetching.has(file.file) || page.finished.has(file.file) ? 0 : (file.health?.state ?? "whole") !== "whole" ? 1 : 2);
  const order = state.files.map((file, i) => [rank(file), i, file]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const keepers = state.manager?.replicas === "all" ? state.peers.filter((peer) => peer.keeps) : [];
  capped("file", order.map((one) => one[2]), (file) => file.file, (row, file) => {
    say(part(row, "name"), file.file);
    say(part(row, "size"), bytes(file.size));
    const health = part(row, "health"), is = file.health?.state;
    mark(health, "data-is", is ?? "");
    const line = is === "whole" && file.holders.length >= LINE && !fetching.has(file.file) && !page.finished.has(file.file);
    say(health, { whole: line ? `✓ whole at ${file.holders.length} peers` : "✓ whole", spreading: "◔ spreading",
      healing: "◐ healing", missing: "✕ missing" }[is] ?? "");
    row.classList.toggle("line", is === "whole" && !fetching.has(file.file));
    say(part(row, "why"), is && is !== "whole" ? file.health.reason : "");
    const running = fetching.get(file.file) ?? [];
    part(row, "copies").hidden = line;
    if (!line) showCopies(part(row, "copies"), file, running, keepers);
    const bound = (state.bounds ?? []).find((one) => one.file === file.file);
    showRaces(row, file, running, bound);
    showRarity(row, file, running);
    showGives(part(row, "gives"), state, running.length > 0 ? file.file : null);
  }, state.files_left_out);
}

function showCopies(box, file, running, keepers) {
  const moving = new Map(running.map((one) => [one.peer, one])), rows = running.length > 4;
  const copies = file.holders.map((holder) => {
    const one = moving.get(holder.peer);
    moving.delete(holder.peer);
    return { peer: holder.peer, name: holder.name, is: holder.whole ? "whole" : one ? "moving" : "part", share: holder.whole ? 1 : one ? one.have / (one.pieces || 1) : .5, one };
  });
  for (const one of moving.values()) copies.push({ peer: one.peer, name: one.name, is: "moving", share: one.have / (one.pieces || 1), one });
  const here = new Set(copies.map((copy) => copy.peer));
  for (const peer of keepers) if (!here.has(peer.peer)) copies.push({ peer: peer.peer, name: peer.name, is: "none", share: 0 });
  copies.sort((a, b) => a.peer - b.peer);
  // Many that fetch it have a row each, with a map of what they have.
  if (rows) copies.splice(0, copies.length, ...copies.filter((copy) => copy.is !== "moving"));
  const rest = copies.length - COPIES;
  if (rest > 0) {
    const whole = copies.slice(COPIES).filter((copy) => copy.is === "whole").length;
    copies.splice(COPIES, rest, { peer: 0, name: `and ${rest} more, ${whole} whole`, is: "rest", share: 0 });
  }
  list(box, copies, (copy) => copy.peer, () => make("t-copy"), (node, copy) => {
    node.classList.toggle("rest", copy.is === "rest");
    mark(node, "data-is", copy.is);
    paint(node, copy.is === "rest" ? "" : copy.name);
    say(part(node, "who"), copy.name);
    const cent = `${Math.floor(100 * copy.share)} %`;
    say(part(node, "how"), { whole: "✓", moving: cent, part: "a part", none: "–", rest: "" }[copy.is]);
    mark(node, "aria-label", { whole: `${copy.name} has all of it`, moving: `${copy.name} fetches it, ${cent} are there`, part: `${copy.name} has a part of it`, none: `${copy.name} lacks it`, rest: copy.name }[copy.is]);
    scale(node.querySelector(".fill"), copy.share);
  });
}

/** Downloads that were running and are whole now stay for a while, with the time that they took. */
function remember(fetching, whole) {
  const time = now(), running = new Map();
  for (const all of fetching.values()) {
    for (const one of all) {
      // The earliest beginning that was told is the right one: each was told some moments before it came here.
      const key = `${one.peer} ${one.file}`, began = time - one.since_ms_ago;
      running.set(key, { one, began: Math.min(began, page.running.get(key)?.began ?? began) });
    }
  }
  for (const [key, { one, began }] of page.running) {
    if (running.has(key) || !whole.has(key)) continue;
    const others = (page.finished.get(one.file) ?? []).filter((other) => other.peer !== one.peer);
    page.finished.set(one.file, [...others, { ...one, took: time - began, at: time }]);
  }
  page.running = running;
  for (const [file, all] of page.finished) {
    const left = all.filter((one) => time - one.at < FINISHED);
    if (left.length > 0) page.finished.set(file, left);
    else page.finished.delete(file);
  }
}

/** The time of each download beside the least that is possible. */
function showRaces(row, file, running, bound) {
  const time = now();
  const races = running.map((one) => {
    const began = page.running.get(`${one.peer} ${file.file}`)?.began ?? time - one.since_ms_ago;
    const share = one.have / (one.pieces || 1);
    const rate = one.bytes_per_s > 0 ? `, ${bytes(one.bytes_per_s)}/s` : "";
    const from = sources(one.from);
    return { ...one, share, ms: time - began, text: `${one.name} has ${Math.floor(100 * share)} % after ${span(time - began)}${rate}${from}` };
  });
  for (const one of page.finished.get(file.file) ?? []) {
    if (!running.some((other) => other.peer === one.peer)) races.push({ ...one, share: 1, ms: one.took, text: `${one.name} has all of it after ${span(one.took)}` });
  }
  // The bound of those who began together is that of the most who ran at once.
  if (races.length === 0) row.bound = null;
  else if (bound && !(row.bound?.peers > bound.peers)) row.bound = bound;
  const best = row.bound;
  const least = best?.seconds != null ? best.seconds * 1000 : null;
  const full = Math.max(1000, (least ?? 0) * 1.1, ...races.map((race) => race.ms / (race.share || 1)));
  list(part(row, "races"), races.slice(0, COPIES), (race) => race.peer, () => make("t-race"), (node, race) => {
    paint(node, race.name);
    say(part(node, "text"), race.text);
    scale(part(node, "run"), race.ms / full);
    const parts = bits(race.map, race.pieces), map = part(node, "map");
    map.hidden = parts.length === 0;
    draw(map, parts, parts.map(Number), 1, `${race.name} has ${race.have} of ${race.pieces} pieces`);
    part(node, "best").hidden = least === null;
    part(node, "best").style.left = `${100 * (least ?? 0) / full}%`;
  });
  say(part(row, "bound"), !best ? "" : least === null ? best.words
    : `┃ No way is faster than ${span(least)}: ${best.words} (D_p2p = ${best.formula}, N = ${best.peers})`);
}

// ---- Pieces, and who gives them

/** The parts of a file that are there, of a map in hexadecimal digits. */
function bits(map = "", pieces = 0) {
  const all = [...map].flatMap((digit) => [8, 4, 2, 1].map((bit) => (parseInt(digit, 16) & bit) > 0));
  return all.slice(0, Math.min(pieces, MAP));
}

/** Draws a column for each part, as high as its number of `most`; one that is as rare as can be has a colour of its own. */
function draw(canvas, parts, heights, most, label, rarest = -1) {
  mark(canvas, "aria-label", label);
  const seen = `${parts.length} ${heights.join()} ${rarest}`;
  if (canvas.seen === seen || parts.length === 0) return;
  canvas.seen = seen;
  const step = parts.length > 128 ? 1 : 6, high = canvas.height;
  canvas.width = parts.length * step;
  const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
  heights.forEach((height, i) => {
    pen.fillStyle = style.getPropertyValue(height === rarest ? "--bad" : "--who") || style.color;
    pen.fillRect(i * step, high * (1 - height / most), step > 1 ? step - 1 : 1, high * height / most);
  });
}

/** How many copies there are of each part: those of the whole holders, and those of them that fetch it. */
function showRarity(row, file, running) {
  const maps = running.map((one) => bits(one.map, one.pieces)).filter((map) => map.length > 0);
  part(row, "rare").hidden = maps.length === 0;
  if (maps.length === 0) return;
  const whole = file.holders.filter((holder) => holder.whole).length, parts = maps[0];
  const copies = parts.map((_, i) => whole + maps.reduce((sum, map) => sum + Number(map[i] ?? false), 0));
  const least = Math.min(...copies), rare = copies.filter((n) => n === least).length;
  const what = file.size > MAP * file.piece_size ? "parts" : "pieces";
  const text = `availability: ${rare} of ${copies.length} ${what} at ${plural(least, "peer")} only`;
  say(part(row, "rare-text"), least === Math.max(...copies) ? `availability: each of ${copies.length} ${what} at ${plural(least, "peer")}` : text);
  draw(part(row, "sum"), parts, copies, Math.max(...copies), text, least);
}

/** When something began that was told once: the age in a row is that of the moment at which it was told first. */
function sinceWhen(key, age) {
  const before = page.began.get(key), began = now() - age;
  const at = before?.age === age ? before.at : began;
  page.began.set(key, { age, at, shown: now() });
  return at;
}

/** Who uploads to whom, and how fast: ★ is the optimist's place, ⊘ is choked. */
function showGives(box, state, file) {
  const rows = !file ? [] : state.peers
    .map((peer) => ({ peer: peer.peer, name: peer.name, to: (peer.uploads ?? []).filter((one) => one.file === file) }))
    .filter((row) => row.to.length > 0);
  list(box, rows.slice(0, COPIES), (row) => row.peer, () => make("t-give"), (node, row) => {
    tag(part(node, "tag"), row.name);
    list(part(node, "to"), row.to, (one) => one.peer, () => make("t-to"), (to, one) => {
      mark(to, "data-is", one.state);
      say(part(to, "mark"), { optimistic: "★ ", owes: "◷ ", choked: "⊘ " }[one.state] ?? "");
      tag(part(to, "tag"), called(null, one.peer));
      const age = span(now() - sinceWhen(`${row.peer} ${one.peer} ${one.file} ${one.state}`, one.since_ms_ago));
      say(part(to, "rate"), one.state === "choked" ? age : `${bytes(one.up)}/s`);
      mark(to, "title", { regular: "served: among the first by rate", optimistic: "served: drawn at random (optimistic unchoke)",
        owes: "waits behind the others: it owes more than it gave or passed on",
        choked: "choked: other peers have higher rates" }[one.state] + ` (for ${age}; gives ${bytes(one.down)}/s)`);
    });
  });
}

/** What flows between all peers, and its line over the last minutes. */
function showRate(state) {
  const rate = state.peers.reduce((sum, peer) => sum + total(peer.downloads, "bytes_per_s"), 0), time = now();
  if (time - (page.rates.at(-1)?.at ?? 0) >= 1000) page.rates.push({ at: time, rate });
  while (time - page.rates[0].at > MINUTES) page.rates.shift();
  say($("n-rate"), `${bytes(rate)}/s`);
  const canvas = $("rate-line"), pen = canvas.getContext("2d"), most = Math.max(1, ...page.rates.map((one) => one.rate));
  mark(canvas, "aria-label", `between all peers ${bytes(rate)}/s; the most within five minutes was ${bytes(most > 1 ? most : 0)}/s`);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.strokeStyle = pen.fillStyle = "#5fe08f";
  pen.lineWidth = 2;
  pen.beginPath();
  page.rates.forEach((one, i) => {
    const x = canvas.width * (1 - (time - one.at) / MINUTES), y = canvas.height - 2 - (canvas.height - 4) * one.rate / most;
    if (i === 0) pen.moveTo(x, y); else pen.lineTo(x, y);
  });
  pen.stroke();
}

function sources(from = []) {
  const names = from.slice(0, 4).map((peer) => called(null, peer)).join(", ");
  return from.length > 0 ? ` from ${names}${from.length > 4 ? ` and ${from.length - 4} more` : ""}` : "";
}

// ---- Events

function showEvents(state) {
  // Their number in the order of arrival is their name: the list shifts, the rows stay.
  const seen = new Map();
  const events = state.events.map((event) => {
    const key = `${event.at} ${event.text}`, n = (seen.get(key) ?? 0) + 1;
    seen.set(key, n);
    return { ...event, key: `${key} ${n}` };
  });
  capped("event", events.reverse(), (event) => event.key, (row, event) => {
    const at = part(row, "at");
    say(at, clock(event.at));
    mark(at, "datetime", new Date(event.at).toISOString());
    say(part(row, "text"), event.text);
  });
}

// ---- All of it

function showAll() {
  const state = page.state;
  showLife();
  // What was true when the manager fell silent is not made older or newer here.
  if (!state || page.gone) return;
  page.names = new Map(state.peers.map((peer) => [peer.peer, peer.name]));
  for (const [key, one] of page.began) if (now() - one.shown > 10000) page.began.delete(key);
  for (const peer of state.peers) if (peer.slots > 0) colour(peer.name);
  const sum = (key) => state.peers.reduce((sum, peer) => sum + peer[key], 0);
  const count = (id, n, what) => (say($(id), n), say($(id).nextElementSibling, n === 1 ? what : `${what}s`));
  count("n-peers", state.peers.length + (state.peers_left_out ?? 0), "peer");
  say($("n-slots"), `${sum("used")}/${sum("slots")}`);
  say($("n-queue"), state.queue.length + (state.queue_left_out ?? 0));
  count("n-files", state.files.length + (state.files_left_out ?? 0), "file");
  showPeers(state);
  showQueue(state);
  showLeases(state);
  showEvents(state);
  showFiles(state);
  showRate(state);
  const manager = state.manager;
  if (manager) {
    say($("about"), `The manager has been running since ${clock(manager.since)}; a lease lasts ${span(manager.quantum_ms)}; `
      + `copies of each file: ${manager.replicas}. Times are those of this computer's clock.`);
  }
}

function showLife() {
  const is = page.paused ? "still" : page.gone ? "gone" : page.heard ? "live" : "wait";
  mark($("pulse"), "data-is", is);
  say($("pulse-text"), { still: "paused", gone: "no answer", live: $("player") ? "plays" : "live", wait: "asking the manager" }[is]);
  document.body.classList.toggle("stale", is === "gone");
  const banner = $("banner");
  banner.hidden = is !== "gone";
  if (is !== "gone") return;
  const since = new Date(page.gone).toLocaleTimeString("en-GB");
  say(banner, `✕ The manager at ${location.host} has not answered since ${since} (${Math.floor((Date.now() - page.gone) / 1000)} s). `
    + (page.state ? "What is shown is from then. " : "") + "Leases and transfers between peers go on without it. Trying again every second.");
}

// ---- News for those who listen: what is worth a sentence, and no more than one in five seconds.

function tell(words) {
  page.news.push(words);
  if (page.news.length === 1) setTimeout(speak, Math.max(50, page.spoke + NEWS_PAUSE - Date.now()));
}

function speak() {
  const [first, ...rest] = page.news.splice(0);
  page.spoke = Date.now();
  say($("news"), rest.length > 0 ? `${first} ${rest.at(-1)}` : first);
}

function hear(state) {
  const before = page.told, names = new Set(state.peers.filter((peer) => peer.slots > 0).map((peer) => peer.name));
  page.told = names;
  if (!before) return;
  const few = (all) => (all.length > 3 ? `${all.length} peers` : all.join(", "));
  const came = [...names].filter((name) => !before.has(name)), left = [...before].filter((name) => !names.has(name));
  if (came.length > 0) tell(`${few(came)} joined.`);
  if (left.length > 0) tell(`${few(left)} left.`);
}

// ---- Asking

/** A state after a change, as the manager writes it: of an object its members, of a list its rows, one after another. */
function patched(old, change) {
  if (Array.isArray(change)) {
    return change.flatMap(([from, to, it]) => (it === null ? old.slice(from, to) : [patched(old?.[from], it)]));
  }
  if (change === null || typeof change !== "object") return change;
  const all = { ...old };
  for (const [name, it] of Object.entries(change)) {
    if (it === null) delete all[name];
    else all[name] = patched(all[name], it);
  }
  return all;
}

let timer = 0;

async function ask() {
  clearTimeout(timer);
  // A recorded run has a player, and nobody to ask.
  if (document.hidden || page.paused || $("player")) return;
  try {
    const headers = page.tag ? { "If-None-Match": page.tag } : {};
    const answer = await fetch(`state?since=${page.version ?? ""}`, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 200) {
      const told = await answer.json();
      // Another question was answered meanwhile: this is a change of another state than the page has.
      if (told.change && told.since !== page.version) {
        page.tag = page.version = null;
        return ask();
      }
      const state = told.change ? patched(page.state, told.change) : told;
      page.tag = answer.headers.get("ETag");
      page.version = page.tag?.replaceAll('"', "");
      page.offset = (state.manager?.now ?? Date.now()) - Date.now();
      page.state = state;
      hear(state);
    } else if (answer.status !== 304) {
      throw new Error(`the manager answered ${answer.status}`);
    }
    if (page.gone) tell("The manager answers again.");
    page.heard = Date.now();
    page.gone = null;
  } catch {
    if (!page.gone) tell("The manager does not answer.");
    page.gone ??= page.heard ?? Date.now();
    page.tag = page.version = null;
  }
  showAll();
  clearTimeout(timer);
  timer = setTimeout(ask, page.gone ? RETRY : PAUSE);
}

if (document.querySelector(`section[data-show="${CSS.escape(page.alone ?? "")}"]`)) {
  document.body.classList.add("alone");
  for (const section of document.querySelectorAll("section")) section.hidden = section.dataset.show !== page.alone;
  const back = document.querySelector("section:not([hidden]) a.alone");
  say(back, "the whole board");
  back.href = "./";
} else {
  page.alone = null;
}
for (const host of document.querySelectorAll(".host")) say(host, location.host || "ADDR");
say($("where"), `the manager at ${location.host}`);
for (const kind of Object.keys(CAPS)) {
  $(`${kind}-more`).lastElementChild.addEventListener("click", () => {
    if (!page.open.delete(kind)) page.open.add(kind);
    showAll();
  });
}
$("pause").addEventListener("click", () => {
  page.paused = !page.paused;
  mark($("pause"), "aria-pressed", String(page.paused));
  showLife();
  ask();
});
document.addEventListener("visibilitychange", ask);
page.names = new Map();
ask();
