//! The board as its readers have it: in a real browser, beside real programs. Skipped, in words, where there
//! is no Chromium.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::common::browser::Browser;
use crate::common::fake::{Answer, FakePeer, HONEST, Manners};
use crate::common::node::{Network, Node, start_manager};
use crate::common::wire::Wire;
use crate::common::{PATIENCE, integers, save, until};
use serde_json::{Value, json};

/// The three sizes for which the page is made.
const SIZES: [(u32, u32); 3] = [(1280, 900), (400, 900), (1920, 1080)];

/// The texts whose colour is not far enough from that behind it: 4.5 is the least contrast that the web's rules of
/// access (WCAG 2) allow. What is drawn behind a copy is no colour of its own, so copies are left out.
const FAINT: &str = "(() => { \
    const light = (colour) => { \
        const [r, g, b] = colour.match(/[\\d.]+/g).map((part) => ((part / 255 + .055) / 1.055) ** 2.4); \
        return .2126 * r + .7152 * g + .0722 * b + .05; }; \
    const behind = (node) => { \
        const colour = getComputedStyle(node).backgroundColor; \
        return colour === 'rgba(0, 0, 0, 0)' ? behind(node.parentElement) : colour; }; \
    const ratio = (node) => light(getComputedStyle(node).color) / light(behind(node)); \
    const isDark = matchMedia('(prefers-color-scheme: dark)').matches; \
    const said = (node) => [...node.childNodes].some((it) => it.nodeType === Node.TEXT_NODE && it.data.trim()); \
    const faint = (node) => Math.max(ratio(node), 1 / ratio(node)) < 4.5; \
    const nodes = [...document.body.querySelectorAll('*:not(.copy, .copy *)')].filter(said).filter(faint); \
    const wrong = isDark === ratio(document.body) > 1 ? [] : ['the page']; \
    return [...wrong, ...nodes.map((node) => node.outerHTML.slice(0, 120))]; })()";

/// A name that is a file's, and would be much else if it were not taken as text.
const WILD: &str = "<b>bold<img src=x onerror=alert(1)> \"quoted\" 100% \u{1f600}.txt";

/// A manager whose peers may stop for a while, the given peers, and its board in a browser.
fn board(options: &[&str], slots: &[u32]) -> Option<(Network, Browser)> {
    let mut browser = Browser::start()?;
    let network = Network::start(&[&["--dead-after", "60s", "--quantum", "120s"], options].concat(), slots);
    browser.resize(SIZES[0].0, SIZES[0].1);
    browser.open(&format!("http://{}/", network.addr));
    browser.reads("#pulse", "live");
    Some((network, browser))
}

/// Fails if the page complained, or asked anybody but the manager for anything.
#[track_caller]
fn assert_kept_to_itself(browser: &Browser, manager: SocketAddr) {
    assert_eq!(browser.complaints, Vec::<String>::new());
    let own = format!("http://{manager}/");
    let foreign =
        |url: &&String| !url.starts_with(&own) && !url.starts_with("data:") && *url != "about:blank";
    assert_eq!(browser.requests.iter().find(foreign), None);
}

/// What has little room beside something else, and lies on it.
const COVERED: &str = "[['.legend span', 'a.alone'], ['.flow', '.slot']].filter((pair) => { \
    const [ones, others] = pair.map((name) => \
        [...document.querySelectorAll(name)].flatMap((node) => [...node.getClientRects()])); \
    return ones.some((one) => others.some((other) => one.left < other.right && other.left < one.right \
        && one.top < other.bottom && other.top < one.bottom)); })";

/// Fails if anything stands out of the window at any size, covers another, or cannot be read, by day or in the dark.
#[track_caller]
fn assert_fits(browser: &mut Browser) {
    for scheme in ["dark", "light"] {
        browser.light(scheme);
        assert_eq!(browser.ask(FAINT), json!([]), "cannot be read where it is {scheme}");
    }
    for (width, height) in SIZES {
        browser.resize(width, height);
        let wide = browser.ask(
            "[...document.body.querySelectorAll('*')].filter((node) => !node.closest('.skip, .unseen') \
             && node.getBoundingClientRect().right > innerWidth + .5).map((node) => node.outerHTML.slice(0, 120))",
        );
        assert_eq!(wide, json!([]), "stands out at a width of {width}");
        assert_eq!(browser.ask(COVERED), json!([]), "one lies on the other at a width of {width}");
        assert_eq!(browser.ask("document.documentElement.scrollWidth"), width, "at a width of {width}");
    }
    browser.resize(SIZES[0].0, SIZES[0].1);
}

/// How many there are of a selector.
fn count(browser: &mut Browser, selector: &str) -> u64 {
    browser.ask(&format!("document.querySelectorAll({}).length", json!(selector))).as_u64().unwrap()
}

fn silent(answer: Answer) -> Manners {
    Manners { answer, ..HONEST }
}

#[test]
fn peers_with_their_slots_appear_and_go() {
    let Some((mut network, mut browser)) = board(&[], &[]) else { return };
    browser.reads(
        ".empty",
        &format!("No peer has joined yet. Start one: peer serve --manager {}", network.addr),
    );
    browser.reads("#queue .empty", "Nobody waits");
    browser.reads("#leases .empty", "No lease is running");
    browser.reads("#files .empty", "No file is offered yet");
    assert_fits(&mut browser);
    network.add_peer("ada", 3);
    browser.reads(".peer", "ada");
    browser.until("three free slots", "document.querySelectorAll('.peer .slot.free').length === 3");
    browser.reads("#figures", "1 peer 0/3 slots in use");
    browser.reads(".event", "ada joined");
    let mut holder = Wire::connect(network.addr);
    holder.ask(2);
    holder.hear("leased");
    browser.until("two slots are filled", "document.querySelectorAll('.peer .slot.leased').length === 2");
    browser.until(
        "a reader hears it, too",
        "document.querySelector('.slots').getAttribute('aria-label') === '2 of 3 slots in use: 2 by somebody'",
    );
    network.peers[0].kill();
    browser.reads("#peers .empty", "No peer has joined yet");
    browser.reads(".event", "ada left");
    assert_kept_to_itself(&browser, network.addr);
}

#[test]
fn a_multiply_is_seen_product_by_product_and_who_waits_is_told_why() {
    let Some((network, mut browser)) = board(&[], &[]) else { return };
    let slow = FakePeer::join(network.addr, "slow", 3, silent(Answer::Silence));
    network.all_leasable(1);
    save(&integers(64, 64, 1), &network.path("a.npy"));
    let mut fay = network.command("fay", &["multiply", "a.npy", "a.npy", "--levels", "2", "--slots", "3"]);
    // The silent peer keeps three products. Were there another, that would do them.
    browser.reads(".lease", "fay multiplies 64 × 64 by 64 × 64");
    browser.reads(".lease .count", "49 products: 46 waiting, 3 computing");
    assert_eq!(count(&mut browser, ".lease .cell"), 49);
    assert_eq!(count(&mut browser, ".cell[data-is=computing]:not(.legend *)"), 3);
    browser.until(
        "the cell says who computes",
        "document.querySelector('.lease .cell[data-is=computing]').innerText.includes('slow')",
    );
    let mut gil = network.command("gil", &["multiply", "a.npy", "a.npy", "--slots", "3"]);
    browser.reads("#figures", "1 waiting");
    browser.reads(".waiter", "1 gil has waited");
    browser.reads(
        ".waiter",
        "is told: you are the head of the queue; 0 of your 3 slots are free; the lease of fay ends",
    );
    let note = browser.ask("document.querySelector('.lease .note:not(.bad)').innerText");
    assert!(
        note.as_str().unwrap().ends_with(", for others wait"),
        "the lease's own time is told as it is now: {note}"
    );
    assert_fits(&mut browser);
    // It ends its silence.
    slow.set(|manners| *manners = HONEST);
    fay.outcome().assert(0, &[]);
    gil.outcome().assert(0, &[]);
    browser.reads("#done-list", "fay multiplied 64 × 64 by 64 × 64 in");
    browser.reads("#done-list", "gil multiplied 64 × 64 by 64 × 64 in");
    browser.until("nobody waits", "document.querySelectorAll('.waiter, .lease').length === 0");
    browser.reads("#leases .empty", "No lease is running");
    assert_kept_to_itself(&browser, network.addr);
}

#[test]
fn a_product_that_was_done_again_is_marked() {
    let Some((network, mut browser)) = board(&[], &[]) else { return };
    let liar = FakePeer::join(network.addr, "liar", 1, silent(Answer::Wrong));
    let slow = FakePeer::join(network.addr, "slow", 1, silent(Answer::Silence));
    network.all_leasable(2);
    save(&integers(8, 8, 1), &network.path("a.npy"));
    let mut fay = network.command("fay", &["multiply", "a.npy", "a.npy", "--slots", "2"]);
    browser.reads(".event", "fay blames liar");
    browser.reads(".lease .count", "1 done again");
    browser.reads(".lease .note.bad", "again: liar at ");
    let again = browser.ask("document.querySelector('.lease .cell.again').getAttribute('aria-label')");
    let again = again.as_str().unwrap();
    // By the time of this look the other peer may have taken it already.
    assert!(again.ends_with("waiting to be done again") || again.ends_with("try 2"), "{again}");
    fay.kill();
    drop((liar, slow));
    assert_kept_to_itself(&browser, network.addr);
}

/// So many bytes that no two pieces of them are alike.
fn film(size: u32) -> Vec<u8> {
    (0..size).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Starts a peer that serves what lies in its folder.
fn offer(network: &Network, name: &str, file: &str, bytes: &[u8], options: &[&str]) -> Node {
    let folder = network.path(&format!("peerlab-{name}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(file), bytes).unwrap();
    let mut peer = network.command_with_log("info", name, &[&["serve"], options].concat());
    peer.ready();
    peer
}

#[test]
fn a_wild_name_is_shown_as_it_is_written() {
    let Some((network, mut browser)) = board(&[], &[]) else { return };
    let _ada = offer(&network, "ada <i>", WILD, b"small", &[]);
    let named = format!(
        "[...document.querySelectorAll('.file .name')].some((node) => node.textContent === {})",
        json!(WILD)
    );
    browser.until("the file's name", &named);
    browser.reads(".copy", "ada <i> ✓");
    browser.reads(".peer .tag", "ada <i>");
    for markup in [".file b b", ".file img", "li i i", ".event i", "main img"] {
        assert_eq!(count(&mut browser, markup), 0, "{markup} came from a name");
    }
    // And what a script of ours does by mistake, the page's policy refuses.
    let refused =
        browser.ask("try { document.querySelector('.file').innerHTML = '<i>'; 'done' } catch (e) { e.name }");
    assert_eq!(refused, "TypeError");
    assert_fits(&mut browser);
}

#[test]
fn a_download_is_seen_beside_the_least_time_that_it_can_take() {
    let Some((network, mut browser)) = board(&["--replicas", "0"], &[]) else { return };
    let film = film(1536 << 10);
    let _ada = offer(&network, "ada", "film.bin", &film, &["--up", "128kB"]);
    browser.reads(".peer", "up ≤ 125.0 KiB/s");
    browser.reads(".file", "film.bin 1.5 MiB");
    let _dan = network.command("dan", &["--down", "1MiB", "down", "film.bin", "--stay"]);
    browser.reads(".copy[data-is=moving]", "dan");
    browser.reads(".race", "from ada");
    // Six pieces, with a column of six pixels each.
    browser.until("dan's map", "document.querySelector('.race:not(.rare) canvas.map').width === 36");
    browser.until("the sum", "document.querySelector('.race.rare canvas.map').width === 36");
    browser.reads(".rare", "availability: ");
    browser.reads(".give", "ada → dan");
    // 1.5 MiB / 128 kB/s = 12.3 s.
    let bound = "No way is faster than 12 s: the seed must upload every byte once (D_p2p = F / u_s, N = 1)";
    browser.reads(".file .note", bound);
    let part = "parseInt(document.querySelector('.copy[data-is=moving] .how')?.textContent ?? 0)";
    browser.until("the first pieces", &format!("{part} > 0"));
    assert_fits(&mut browser);
    browser.reads(".race", "dan has all of it after 1");
    browser.until("two copies", "document.querySelectorAll('.file .copy[data-is=whole]').length === 2");
    assert_kept_to_itself(&browser, network.addr);
}

#[test]
fn a_page_that_runs_when_the_manager_dies_says_so_and_recovers() {
    let Some((mut network, mut browser)) = board(&[], &[4]) else { return };
    browser.reads(".peer", "p0");
    assert_kept_to_itself(&browser, network.addr);
    network.manager.kill();
    browser.reads("#banner", &format!("The manager at {} has not answered since", network.addr));
    browser.reads("#pulse", "no answer");
    browser.reads("#news", "The manager does not answer.");
    browser.reads(".peer", "p0");
    assert_fits(&mut browser);
    let (manager, _) = start_manager(network.dir.path(), &network.addr.to_string(), &[]);
    network.manager = manager;
    browser.reads("#pulse", "live");
    browser.reads(".event", "p0 joined");
    browser.until("the banner is gone", "!document.getElementById('banner').checkVisibility()");
    let failed = |text: &&String| !text.contains("ERR_") && !text.contains("Failed to load resource");
    assert_eq!(browser.complaints.iter().find(failed), None);
}

#[test]
fn what_has_not_changed_is_not_sent_again_and_who_does_not_look_does_not_ask() {
    let Some((network, mut browser)) = board(&[], &[]) else { return };
    let state = format!("http://{}/state?since=", network.addr);
    until("an answer that nothing has changed", PATIENCE, || {
        browser.ask("0");
        browser.statuses.iter().any(|(url, status)| url.starts_with(&state) && *status == 304).then_some(())
    });
    let asks_within_three_pauses = "(async () => { \
        const asked = () => performance.getEntriesByType('resource').length; \
        await new Promise((done) => setTimeout(done, 600)); const before = asked(); \
        await new Promise((done) => setTimeout(done, 1500)); return asked() - before; })()";
    assert_ne!(browser.ask(asks_within_three_pauses), 0, "it asks while it is looked at");
    browser.ask(
        "Object.defineProperty(document, 'hidden', { get: () => window.away, configurable: true }); \
         window.away = true; document.dispatchEvent(new Event('visibilitychange'))",
    );
    assert_eq!(browser.ask(asks_within_three_pauses), 0, "it asks though nobody looks");
    browser.ask("window.away = false; document.dispatchEvent(new Event('visibilitychange'))");
    assert_ne!(browser.ask(asks_within_three_pauses), 0, "it asks again");
    browser.ask("document.getElementById('pause').click()");
    browser.reads("#pulse", "paused");
    assert_eq!(browser.ask(asks_within_three_pauses), 0, "it asks though it was paused");
}

#[test]
fn the_keyboard_reaches_everything_in_the_order_of_reading() {
    let Some((network, mut browser)) = board(&[], &[]) else { return };
    let mut others: Vec<Wire> = (0..20).map(|i| joins(network.addr, i)).collect();
    browser.reads("#peer-more", "and 8 more Show all");
    browser.reads("#event-more", "Show all");
    let focused = "document.activeElement.textContent.trim()";
    let [skip, alone, all] = ["Skip to the peers", "only this", "Show all"];
    for expected in [skip, "Pause", alone, all, alone, alone, alone, alone, all] {
        browser.press("Tab");
        assert_eq!(browser.ask(focused), expected);
        let seen = browser.ask("getComputedStyle(document.activeElement).outlineStyle");
        assert_eq!(seen, "solid", "{expected} does not show that it has the focus");
    }
    browser.ask("document.activeElement.blur(); document.querySelector('#peer-more button').focus()");
    browser.press("Enter");
    browser.until("all are shown", "document.querySelectorAll('.peer').length === 20");
    assert_eq!(browser.ask("document.activeElement.closest('p').id"), "peer-more", "the focus stays");
    browser.ask("document.getElementById('pause').focus()");
    browser.press("Space");
    browser.reads("#pulse", "paused");
    assert_eq!(browser.ask("document.activeElement.getAttribute('aria-pressed')"), "true");
    others.truncate(0);
    assert_kept_to_itself(&browser, network.addr);
}

#[test]
fn its_headings_are_in_order_and_every_section_has_one() {
    let Some((_network, mut browser)) = board(&[], &[]) else { return };
    let headings = browser.ask("[...document.querySelectorAll('h1, h2')].map((node) => node.tagName)");
    assert_eq!(headings, json!(["H1", "H2", "H2", "H2", "H2", "H2"]));
    let nameless = browser.ask(
        "[...document.querySelectorAll('section')].filter((node) => \
         !document.getElementById(node.getAttribute('aria-labelledby'))?.textContent).length",
    );
    assert_eq!(nameless, 0);
    assert_eq!(browser.ask("document.querySelectorAll('[aria-live]').length"), 1);
    assert_eq!(browser.ask("document.documentElement.lang"), "en");
}

/// Registers one more peer, by hand.
fn joins(manager: SocketAddr, i: u16) -> Wire {
    let addr = SocketAddr::from(([127, 0, 0, 1], 1 + i));
    Wire::register(manager, &format!("lab-{i:03}"), addr, 4).0
}

/// Offers files by hand, in the name of a peer.
fn offers(manager: SocketAddr, peer: u64, files: usize) {
    let mut wire = Wire::connect(manager);
    for i in 0..files {
        let name = format!("file-{i:04}.bin");
        wire.say(&json!({"type": "update", "peer": peer, "file": name, "size": 1, "piece_size": 65536, "whole": true, "payload": 32}));
        wire.say_raw(&[i as u8; 32]);
        wire.hear("updated");
    }
}

#[test]
fn a_hundred_peers_and_a_thousand_files_are_cut_and_counted() {
    let Some((network, mut browser)) = board(&[], &[]) else { return };
    let others: Vec<Wire> = (0..100).map(|i| joins(network.addr, i)).collect();
    let peer = network.state()["peers"][0]["peer"].as_u64().unwrap();
    offers(network.addr, peer, 1000);
    browser.reads("#figures", "100 peers 0/400 slots in use 0 waiting 1000 files");
    browser.reads("#peer-more", "and 88 more");
    browser.reads("#file-more", "and 990 more");
    browser.reads(".file .health", "◔ spreading");
    browser.reads(".copy[data-is=none]", "lab-001 –");
    browser.reads(".copy.rest", "and 88 more, 0 whole");
    assert_fits(&mut browser);
    browser.ask("document.querySelector('#file-more button').click()");
    browser.reads("#file-more", "and 800 more Show fewer");
    assert_eq!(count(&mut browser, ".file"), 200);
    let nodes = count(&mut browser, "*");
    assert!(nodes < 15_000, "{nodes} elements");
    drop(others);
    assert_kept_to_itself(&browser, network.addr);
}

/// A peer registers by hand and says this of itself with its next `ok`.
fn says(manager: SocketAddr, i: u16, mut of_itself: serde_json::Value) -> Wire {
    let mut wire = joins(manager, i);
    of_itself["type"] = json!("ok");
    wire.say(&of_itself);
    wire
}

#[test]
fn what_a_peer_says_of_itself_is_seen_with_reasons_and_marks() {
    let Some((network, mut browser)) = board(&[], &[]) else { return };
    let ada = joins(network.addr, 0);
    let number = network.state()["peers"][0]["peer"].as_u64().unwrap();
    offers(network.addr, number, 1);
    let fetches = json!({"file": "file-0000.bin", "have": 3, "pieces": 8, "since_ms_ago": 4000, "bytes_per_s": 300 << 10, "from": [number], "map": "b0"});
    let gives = json!({"peer": number, "file": "file-0000.bin", "state": "regular", "since_ms_ago": 2000, "up": 123 << 10, "down": 0});
    let ben = says(network.addr, 1, json!({"downloads": [fetches], "uploads": [gives]}));
    let cyd = says(network.addr, 2, json!({"paused": "its disk is away; put it back"}));
    let failed = json!([{"file": "file-0000.bin", "why": "cannot fetch it: the disk is full"}]);
    let dan = says(network.addr, 3, json!({"failed": failed}));
    let numbers: Vec<u64> = network.state()["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| peer["peer"].as_u64().unwrap())
        .collect();
    let upload = |to: usize, state| json!({"peer": numbers[to], "file": "file-0000.bin", "state": state, "since_ms_ago": 2000, "up": 1024, "down": 0});
    let uploads = json!([upload(1, "regular"), upload(2, "optimistic"), upload(3, "choked")]);
    let eve = says(network.addr, 4, json!({"uploads": uploads}));
    browser.reads(".peer .note", "‖ has paused: its disk is away; put it back");
    browser.reads(".peer .note", "✕ lacks file-0000.bin: it cannot fetch it: the disk is full");
    browser.reads(".file .note", "lab-002 has paused");
    browser.reads(".file .note", "lab-003 cannot fetch it: the disk is full");
    browser.reads(".give", "lab-004 → lab-001 1.0 KiB/s ★ lab-002 1.0 KiB/s ⊘ lab-003 ");
    browser.reads(".rare", "availability: 5 of 8 pieces at 1 peer only");
    browser.reads(".peer .flow", "↑ 3.0 KiB/s ↓ 0 B/s");
    browser.reads(".peer .flow", "↑ 123 KiB/s ↓ 300 KiB/s");
    browser.reads("#figures", "300.0 KiB/s file traffic");
    // From nothing, in the last rows of the picture, to the most that there was, in the first.
    let drawn = "(() => { const line = document.getElementById('rate-line'), { width, height } = line; \
        const pen = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true }); \
        pen.drawImage(line, 0, 0); \
        return [2, height - 3].every((y) => pen.getImageData(0, y, width, 1).data.some((part) => part > 0)); })()";
    browser.until("the line of the rate rises", drawn);
    let names = "getComputedStyle(document.querySelector('.peer .tag')).fontSize";
    let reasons = "getComputedStyle(document.querySelector('.peer .note')).fontSize";
    let large = format!("parseFloat({reasons}) > .9 * parseFloat({names})");
    assert_eq!(browser.ask(&large), true, "reasons are as large as names");
    assert_fits(&mut browser);
    drop([ada, ben, cyd, dan, eve]);
    assert_kept_to_itself(&browser, network.addr);
}

#[test]
fn one_card_is_shown_alone_by_the_link_that_the_page_shows() {
    let Some((network, mut browser)) = board(&[], &[]) else { return };
    let shown = "[...document.querySelectorAll('section')].filter((node) => node.checkVisibility()).map((node) => node.id)";
    for (card, section) in [
        ("peers", "peers"),
        ("products", "leases"),
        ("queue", "queue"),
        ("files", "files"),
        ("events", "events"),
    ] {
        let link = browser.ask(&format!("document.querySelector('#{section} a.alone').href"));
        assert_eq!(link, format!("http://{}/?show={card}", network.addr));
        browser.open(link.as_str().unwrap());
        browser.reads("#pulse", "live");
        assert_eq!(browser.ask(shown), json!([section]));
        assert_fits(&mut browser);
        let back = browser.ask(&format!("document.querySelector('#{section} a.alone').href"));
        assert_eq!(back, format!("http://{}/", network.addr));
        browser.open(back.as_str().unwrap());
        browser.reads("#pulse", "live");
        assert_eq!(browser.ask(shown).as_array().unwrap().len(), 5);
    }
    assert_kept_to_itself(&browser, network.addr);
}

#[test]
fn with_twelve_peers_the_multiply_is_on_the_first_screen_of_a_projector() {
    let Some((network, mut browser)) = board(&[], &[]) else { return };
    let join = |i| FakePeer::join(network.addr, &format!("p{i}"), 4, silent(Answer::Silence));
    let mut peers: Vec<FakePeer> = (0..6).map(join).collect();
    peers.iter().for_each(|peer| offers(network.addr, peer.number, 1));
    let copies = "document.querySelectorAll('.file .copies:not([hidden]) > .copy[data-is=whole]').length";
    browser.until("six copies, one by one", &format!("{copies} === 6"));
    peers.push(join(6));
    offers(network.addr, peers[6].number, 1);
    browser.reads(".file.line .health", "✓ whole at 7 peers");
    assert_eq!(browser.ask(copies), 0, "from seven copies on a whole file is one line");
    let shown = |list: &str, peers: usize| {
        format!("document.querySelectorAll('#peer-list{list} > .peer').length === {peers}")
    };
    browser.until("seven peers have a row each", &shown(":not(.tiles)", 7));
    peers.push(join(7));
    browser.until("eight are a grid", &shown(".tiles", 8));
    peers.extend((8..12).map(join));
    network.all_leasable(12);
    save(&integers(8, 8, 1), &network.path("a.npy"));
    let mut fay = network.command("fay", &["multiply", "a.npy", "a.npy"]);
    browser.reads(".lease .count", "7 products: 7 computing");
    browser.resize(1920, 1080);
    browser.until("a grid", &shown(".tiles", 12));
    let bottom = browser.ask("Math.max(...[...document.querySelectorAll('.lease .cell')].map((node) => node.getBoundingClientRect().bottom))");
    assert!(bottom.as_f64().unwrap() <= 1080.0, "the products end at {bottom}");
    browser.reads(".lease .cell:nth-child(7)", "M7");
    browser.reads(".lease .cell:nth-child(7)", "(A12−A22) (B21+B22)");
    let colours = browser
        .ask("new Set([...document.querySelectorAll('.peer .tag')].map((node) => node.className)).size");
    assert_eq!(colours, 12, "a colour or a mark tells each from the others");
    fay.kill();
    drop(peers);
    assert_fits(&mut browser);
}

/// All that was shown is in the file when the manager was killed with no time to end it, and is shown as it was.
#[test]
fn a_run_that_was_recorded_is_played_back_when_the_manager_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.html");
    let mut network = Network::start(&["--quantum", "120s", "--record", file.to_str().unwrap()], &[3]);
    let ada = offer(&network, "ada <i>", WILD, b"small", &[]);
    let mut eve = network.command("eve", &["--slots", "0"]);
    eve.type_line("lease 2");
    let has = |text: &str| {
        let recorded = fs::read_to_string(&file).unwrap();
        recorded.lines().any(|line| line.starts_with("{\"at\":") && line.contains(text)).then_some(())
    };
    until("the lease, recorded", PATIENCE, || has("eve leased 2 slots"));
    drop(ada);
    until("who left, and why", PATIENCE, || has("\"event\":\"ada \\u003ci> left"));
    network.manager.kill();
    let recorded = fs::read_to_string(&file).unwrap();
    let (page, lines) = recorded.split_once("type=\"application/x-ndjson\">\n").unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["at"].is_u64()), "{lines:?}");
    // As if it had been killed within a line.
    fs::write(&file, format!("{recorded}{{\"at\":1,\"eve")).unwrap();

    let Some(mut browser) = Browser::start() else { return };
    browser.resize(1280, 720);
    browser.open(&format!("file://{}", file.display()));
    browser.until("it plays by itself", "document.getElementById('slider').value > 0");
    // In one step: a run as short as this one may end, which pauses it, between any two.
    browser.ask(
        "{ const pause = document.getElementById('pause'); \
         if (pause.getAttribute('aria-pressed') === 'false') pause.click(); \
         document.getElementById('speed').value = '64'; pause.click(); }",
    );
    browser.reads(".event", "ada <i> left");
    browser.reads("#pulse", "paused");
    browser.reads("#figures", "1/3 slots in use");
    let jump = |to: &str| {
        format!(
            "(() => {{ const jump = document.getElementById('jump'); \
         jump.selectedIndex = [...jump.options].findIndex((one) => one.text.includes({})); \
         jump.dispatchEvent(new Event('change')); return jump.selectedIndex; }})()",
            json!(to)
        )
    };
    assert_ne!(browser.ask(&jump("ada <i> left")), -1);
    assert_ne!(browser.ask(&jump("ada <i> offers")), -1);
    browser.until(
        "what happened later is not shown",
        "!document.querySelector('#event-list').textContent.includes('left')",
    );
    browser.ask("{ const s = document.getElementById('slider'); s.value = s.max; s.dispatchEvent(new Event('input')); }");
    browser.reads(".event", "ada <i> left");
    assert_fits(&mut browser);
    for markup in ["main img", "main i i", "#player i"] {
        assert_eq!(count(&mut browser, markup), 0, "{markup} came from a name");
    }
    if let Some(picture) = std::env::var_os("BOARD_PICTURE") {
        browser.resize(1280, 720);
        browser.picture(&PathBuf::from(picture));
    }
    let foreign =
        |url: &&String| !url.starts_with("file:") && !url.starts_with("data:") && *url != "about:blank";
    assert_eq!(browser.requests.iter().find(foreign), None);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// Not a test of anything: it makes a scene, and a picture of it where `BOARD_PICTURE` says, and beside it
/// one of a narrow window and one of a dark room. `scripts/board.sh` calls it.
#[test]
#[ignore = "it draws the picture of the README; scripts/board.sh does that"]
fn the_board_has_its_picture_taken() {
    let picture = PathBuf::from(std::env::var_os("BOARD_PICTURE").expect("BOARD_PICTURE names a file"));
    let Some((network, mut browser)) = board(&[], &[]) else { return };
    browser.resize(1280, 1200);
    let film = film(96 << 20);
    let _ada = offer(&network, "ada", "lecture-07.mp4", &film, &["--up", "1MiB"]);
    let _ben = offer(&network, "ben", "alice.txt", &film[..170_000], &["--up", "1MiB"]);
    let _cyd = offer(&network, "cyd", "notes.txt", b"small", &["--up", "1MiB"]);
    network.all_leasable(3);
    browser.reads(".file .name", "lecture-07.mp4");
    let _dan = network.command("dan", &["--up", "1MiB", "down", "lecture-07.mp4", "--stay"]);
    browser.reads(".race", "dan has");
    let mut eve = network.command("eve", &["--slots", "0"]);
    eve.type_line("lease 2");
    browser.reads(".lease", "eve holds 2 slots");
    save(&integers(6000, 6000, 1), &network.path("a.npy"));
    let _fay = network.command("fay", &["multiply", "a.npy", "a.npy", "--levels", "2"]);
    browser.reads(".lease .count", "49 products");
    // A small one, which is there before the large one is done.
    save(&integers(8, 8, 1), &network.path("b.npy"));
    let _gil = network.command("gil", &["multiply", "b.npy", "b.npy"]);
    browser.reads(".waiter", "gil has waited");
    let checked = "document.querySelectorAll('.lease .cell[data-is=checked]').length";
    browser.until("a third of the products", &format!("{checked} > 16"));
    browser.picture(&picture);
    let beside = |what: &str| picture.with_file_name(format!("board-{what}.png"));
    if std::env::var_os("BOARD_ALL").is_some() {
        browser.resize(400, 900);
        browser.picture_of_all(&beside("narrow"));
        browser.resize(1280, 900);
        browser.picture_of_all(&beside("whole"));
        browser.light("dark");
        browser.picture(&beside("dark"));
    }
}
