//! Nodes are killed as a power cut would: no file becomes corrupt, no product wrong, nothing that was written is
//! fetched again, and in the end everything is whole everywhere.
//!
//! There are four kinds of work, and in each one of three nodes is killed and started again at once: the sender (a
//! peer that has the file, or serves products), the receiver (that fetches, multiplies or drops), the manager.
//!
//! | work | what runs | what must be so after it |
//! |---|---|---|
//! | transfer | `peer down`, from one peer | the file's bytes; a piece that was on the disk at the kill is not asked for again |
//! | copies | peers that keep replicas | all have all files, byte by byte, and the same |
//! | product | `peer multiply`, by three peers | the product, exactly, or none |
//! | drop | `peer drop` | the file is gone everywhere, its bytes are in the trash, and no other file is |

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::common::files::bytes;
use crate::common::node::{Network, Node, Outcome};
use crate::common::{assert_is_product, integers, save, until};
use crate::light::{parts, sparse};
use crate::table::{Table, on_lanes, seed};

/// How many networks are killed in at the same time: most of the time of each is waiting.
const LANES: usize = 3;

/// How often something is killed in one network before another is started.
const KILLS_A_NETWORK: usize = 24;

const PIECE: usize = 256 << 10;

/// How long everything may take to be whole again.
const HEALING: Duration = Duration::from_secs(60);

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Sender,
    Receiver,
    Manager,
}

const VICTIMS: [Victim; 3] = [Victim::Sender, Victim::Receiver, Victim::Manager];

/// What was seen in all networks of one row.
#[derive(Debug, Default)]
struct Seen {
    kills: usize,
    /// Kills that came before the work was done.
    in_the_middle: usize,
    corrupt: usize,
    wrong: usize,
    lost: usize,
    /// Pieces that were on the disk of a receiver when it was killed.
    written: usize,
    fetched_again: usize,
    /// Commands that ended with a failure although they themselves were not killed.
    failed: usize,
}

type Work = fn(&mut Lane, usize);

const WORK: [(&str, Work); 4] =
    [("transfer", transfers), ("copies", copies), ("product", products), ("drop", drops)];

/// A network in which one kind of node is killed.
struct Lane {
    network: Network,
    /// What the manager is to keep.
    replicas: &'static str,
    victim: Victim,
    rng: StdRng,
    seen: Seen,
}

pub(crate) fn run(count: usize) -> Table {
    let table = Table::new(
        "work,victim,kills,in_the_middle,corrupt_files,wrong_products,lost_files,written_pieces,fetched_again,failed_commands,stuck,seconds",
    );
    let rows: Vec<_> =
        WORK.iter().flat_map(|(name, work)| VICTIMS.map(|victim| (*name, *work, victim))).collect();
    on_lanes(LANES, rows.len(), |row| {
        let (name, work, victim) = rows[row];
        let kills = count / rows.len() + usize::from(row < count % rows.len());
        measure(&table, name, work, victim, kills);
    });
    table
}

fn measure(table: &Table, name: &str, work: Work, victim: Victim, kills: usize) {
    let (mut all, mut stuck, mut done, began) = (Seen::default(), 0, 0, Instant::now());
    while done < kills {
        let now = KILLS_A_NETWORK.min(kills - done);
        let seed = seed() + done as u64;
        let what = format!("{name}, {victim:?} killed, seed {seed}");
        let seen = table.survive(&what, || {
            let replicas = if matches!(name, "copies" | "drop") { "all" } else { "0" };
            let network = Network::start_with_log("trace", &["--replicas", replicas], &[]);
            let rng = StdRng::seed_from_u64(seed);
            let mut lane = Lane { network, replicas, victim, rng, seen: Seen::default() };
            work(&mut lane, now);
            lane.seen
        });
        match seen {
            Some(seen) => all.add(&seen),
            None => (all.kills, stuck) = (all.kills + now, stuck + 1),
        }
        done += now;
    }
    let Seen { kills, in_the_middle, corrupt, wrong, lost, written, fetched_again, failed } = all;
    table.row(&[
        &name,
        &format_args!("{victim:?}").to_string().to_lowercase(),
        &kills,
        &in_the_middle,
        &corrupt,
        &wrong,
        &lost,
        &written,
        &fetched_again,
        &failed,
        &stuck,
        &format_args!("{:.1}", began.elapsed().as_secs_f64()),
    ]);
    let broken = corrupt + wrong + lost + fetched_again + failed;
    table.promise(broken == 0, format_args!("{name}, {victim:?} killed: {all:?}"));
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.in_the_middle += other.in_the_middle;
        self.corrupt += other.corrupt;
        self.wrong += other.wrong;
        self.lost += other.lost;
        self.written += other.written;
        self.fetched_again += other.fetched_again;
        self.failed += other.failed;
    }
}

impl Lane {
    /// Starts the peer p`n`, again if it was there; it is the `n`th of the network.
    fn serve(&mut self, n: usize) {
        let (name, manager) = (format!("p{n}"), self.network.addr.to_string());
        let args = [
            "--manager",
            &manager,
            "--name",
            &name,
            "--scan",
            "200ms",
            "--up",
            "8MiB",
            "--slots",
            "3",
            "serve",
        ];
        let peer = Node::start("peer", self.network.dir.path(), "trace", &args);
        match self.network.peers.get_mut(n) {
            Some(place) => *place = peer,
            None => self.network.peers.push(peer),
        }
    }

    fn serve_all(&mut self, peers: usize) {
        (0..peers).for_each(|n| self.serve(n));
        self.network.peers.iter_mut().for_each(|peer| drop(peer.ready()));
        self.network.all_leasable(peers);
    }

    /// A command that was not killed has failed. One that began when there was no manager may say so.
    fn failed(&mut self, outcome: &Outcome) {
        if self.victim != Victim::Manager || outcome.stderr.contains("registered as number") {
            eprintln!("a command failed: {outcome:#?}");
            self.seen.failed += 1;
        }
    }

    /// Kills one of the peers, or the manager, and starts it again.
    fn strike(&mut self) {
        self.seen.kills += 1;
        if self.victim == Victim::Manager {
            self.network.restart_manager(&["--replicas", self.replicas]);
        } else {
            let n = self.rng.random_range(0..self.network.peers.len());
            self.strike_peer(n);
        }
    }

    fn strike_peer(&mut self, n: usize) {
        self.network.peers[n].kill();
        self.serve(n);
    }

    /// Waits for a random time.
    fn wait(&mut self, most_ms: u64) {
        thread::sleep(Duration::from_micros(self.rng.random_range(0..most_ms * 1000)));
    }

    fn folder(&self, peer: usize) -> PathBuf {
        self.network.path(&format!("peerlab-p{peer}"))
    }

    /// Puts a file into the folder of a peer, whole at once: one that starts just then offers what it finds.
    fn put(&self, peer: usize, name: &str, content: &[u8]) {
        let beside = self.network.path("beside");
        fs::write(&beside, content).unwrap();
        fs::rename(beside, self.folder(peer).join(name)).unwrap();
    }

    /// Waits until a file has these bytes at each of these peers. What has a file's own name and other bytes is
    /// corrupt.
    fn whole_at_all(&mut self, name: &str, content: &[u8]) {
        for peer in 0..self.network.peers.len() {
            let path = self.folder(peer).join(name);
            let found = until(&format!("{name} at p{peer}"), HEALING, || fs::read(&path).ok());
            self.seen.corrupt += usize::from(found != content);
        }
    }
}

/// The pieces of a download that are on the disk, right.
fn written(folder: &Path, content: &[u8]) -> BTreeSet<usize> {
    let bytes = parts(folder).last().and_then(|path| fs::read(path).ok()).unwrap_or_default();
    let pieces = bytes.chunks(PIECE).zip(content.chunks(PIECE)).enumerate();
    pieces.filter(|(_, (there, right))| there == right).map(|(piece, _)| piece).collect()
}

/// The pieces for which a program has asked, as its log says.
fn requested(stderr: &str) -> impl Iterator<Item = usize> {
    stderr.lines().filter_map(|line| {
        // HERE > OTHER {"type":"request","piece":N}
        let (_, said) = line.split_once(" > ")?;
        let (_, piece) = said.split_once("{\"type\":\"request\",\"piece\":")?;
        piece.trim_end_matches('}').parse().ok()
    })
}

/// One peer has a file, and another fetches it.
fn transfers(lane: &mut Lane, kills: usize) {
    lane.serve_all(1);
    while lane.seen.kills < kills {
        let file = format!("film-{}", lane.seen.kills);
        let size = lane.rng.random_range(8 * PIECE..32 * PIECE);
        let content = bytes(size, lane.rng.next_u64());
        lane.put(0, &file, &content);
        until("it is offered", HEALING, || {
            lane.network.state()["files"]
                .as_array()
                .unwrap()
                .iter()
                .any(|row| row["file"] == file)
                .then_some(())
        });
        fetch(lane, &file, &content, kills);
        let there = fs::read(lane.folder(0).join(&file)).unwrap_or_default();
        lane.seen.lost += usize::from(there != content);
        fs::remove_file(lane.folder(0).join(&file)).unwrap();
    }
}

/// One file is fetched, and something killed until it is there.
fn fetch(lane: &mut Lane, file: &str, content: &[u8], kills: usize) {
    let into = lane.network.path(&format!("into-{file}"));
    let start = |lane: &Lane| {
        let output = into.to_str().unwrap().to_owned();
        lane.network.command_with_log("trace", "me", &["down", file, "-o", &output, "--json"])
    };
    let mut me = start(lane);
    let mut on_disk = BTreeSet::new();
    for _ in 0..3.min(kills - lane.seen.kills) {
        lane.wait(300);
        lane.seen.in_the_middle += usize::from(!me.has_ended());
        if lane.victim != Victim::Receiver {
            lane.strike();
            continue;
        }
        lane.seen.kills += 1;
        me.kill();
        lane.seen.fetched_again += requested(&me.stderr()).filter(|piece| on_disk.contains(piece)).count();
        on_disk = written(&into, content);
        lane.seen.written += on_disk.len();
        me = start(lane);
    }
    let outcome = me.outcome();
    lane.seen.fetched_again += requested(&outcome.stderr).filter(|piece| on_disk.contains(piece)).count();
    if outcome.status == Some(0) {
        lane.seen.fetched_again += outcome.json()["duplicates"].as_u64().unwrap() as usize;
    } else {
        lane.failed(&outcome);
    }
    lane.seen.corrupt += usize::from(fs::read(into.join(file)).is_ok_and(|found| found != content));
}

/// Three peers keep replicas of files that are put into the folder of one.
fn copies(lane: &mut Lane, kills: usize) {
    lane.serve_all(3);
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    while lane.seen.kills < kills {
        let (name, size) = (format!("f{}", files.len()), lane.rng.random_range(0..40 * PIECE));
        let content = bytes(size, lane.rng.next_u64());
        let at = lane.rng.random_range(0..3);
        lane.put(at, &name, &content);
        for _ in 0..3.min(kills - lane.seen.kills) {
            lane.wait(400);
            let whole = |peer: usize| lane.folder(peer).join(&name).exists();
            lane.seen.in_the_middle += usize::from(!(0..3).all(whole));
            match lane.victim {
                Victim::Manager => lane.strike(),
                Victim::Sender => {
                    lane.seen.kills += 1;
                    lane.strike_peer(at);
                }
                Victim::Receiver => {
                    let other = (at + lane.rng.random_range(1..3)) % 3;
                    kill_keeper(lane, other, &content);
                }
            }
        }
        lane.whole_at_all(&name, &content);
        files.push((name, content));
    }
    for (name, content) in &files {
        lane.whole_at_all(name, content);
    }
    let extra = (0..3).flat_map(|peer| fs::read_dir(lane.folder(peer)).unwrap().flatten());
    let names: BTreeSet<String> = extra.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let known = |name: &&String| *name == ".peerlab" || files.iter().any(|(file, _)| file == *name);
    let strange: Vec<_> = names.iter().filter(|name| !known(name)).collect();
    assert!(strange.is_empty(), "nobody put these there: {strange:?}");
}

/// Kills a peer that fetches a copy, and looks which pieces its next life asks for until it has all.
fn kill_keeper(lane: &mut Lane, peer: usize, content: &[u8]) {
    lane.seen.kills += 1;
    lane.network.peers[peer].kill();
    let on_disk = written(&lane.folder(peer), content);
    lane.seen.written += on_disk.len();
    lane.serve(peer);
    if on_disk.is_empty() {
        return;
    }
    let folder = lane.folder(peer);
    // The download that it goes on with is the only one.
    until("it is whole again", HEALING, || parts(&folder).is_empty().then_some(()));
    let asked = lane.network.peers[peer].stderr();
    lane.seen.fetched_again += requested(&asked).filter(|piece| on_disk.contains(piece)).count();
}

/// Three peers serve products, and another multiplies.
fn products(lane: &mut Lane, kills: usize) {
    const SIZE: usize = 900;
    lane.serve_all(3);
    let (a, b) = (sparse(SIZE), integers(SIZE, SIZE, 1));
    save(&a, &lane.network.path("a.npy"));
    save(&b, &lane.network.path("b.npy"));
    while lane.seen.kills < kills {
        let answer = format!("c{}.npy", lane.seen.kills);
        let path = lane.network.path(&answer);
        let args = ["multiply", "a.npy", "b.npy", "--levels", "2", "-o", &answer];
        let mut me = lane.network.command("me", &args);
        lane.wait(150);
        lane.seen.in_the_middle += usize::from(!me.has_ended());
        if lane.victim == Victim::Receiver {
            lane.seen.kills += 1;
            me.kill();
            if path.exists() {
                assert_is_product(&path, &a, &b);
                fs::remove_file(&path).unwrap();
            }
            me = lane.network.command("me", &args);
        } else {
            lane.strike();
        }
        let outcome = me.outcome();
        if outcome.status == Some(0) {
            let right = std::panic::catch_unwind(|| assert_is_product(&path, &a, &b)).is_ok();
            lane.seen.wrong += usize::from(!right);
        } else {
            lane.failed(&outcome);
        }
        lane.network.peers.iter_mut().for_each(|peer| _ = peer.ready());
        lane.network.all_leasable(3);
        until("nothing is in use", HEALING, || (lane.network.used() == 0).then_some(()));
    }
}

/// Three peers keep replicas of many files, which are dropped one by one. Every second one stays.
fn drops(lane: &mut Lane, kills: usize) {
    lane.serve_all(3);
    let files: Vec<(String, Vec<u8>)> =
        (0..2 * kills).map(|n| (format!("f{n}"), bytes(1000 + n, lane.rng.next_u64()))).collect();
    for (name, content) in &files {
        lane.put(0, name, content);
    }
    for (name, content) in &files {
        lane.whole_at_all(name, content);
    }
    let mut told = Vec::new();
    for (name, content) in files.iter().step_by(2) {
        let drop = |lane: &Lane| lane.network.command("me", &["drop", name]);
        let mut me = drop(lane);
        // In the middle of it, or when it has just been answered and is being told to all.
        let answered = lane.rng.random_bool(0.5);
        let end = Instant::now() + Duration::from_micros(lane.rng.random_range(0..25_000));
        while !me.has_ended() && (answered || Instant::now() < end) {
            thread::sleep(Duration::from_micros(100));
        }
        lane.seen.in_the_middle += usize::from(!me.has_ended());
        if lane.victim == Victim::Receiver {
            lane.seen.kills += 1;
            me.kill();
            me = drop(lane);
        } else {
            lane.strike();
        }
        // It was said once that it is dropped. If the manager was killed before that, or the file was gone already, it
        // may say so.
        let mut outcome = me.outcome();
        for _ in 0..3 {
            if matches!(outcome.status, Some(0 | 3)) {
                break;
            }
            lane.failed(&outcome);
            outcome = drop(lane).outcome();
        }
        told.push((name, content));
        lane.network.peers.iter_mut().for_each(|peer| _ = peer.ready());
    }
    for (name, content) in told {
        let gone = |peer: usize| !lane.folder(peer).join(name).exists();
        until(&format!("{name} is gone everywhere"), HEALING, || (0..3).all(gone).then_some(()));
        let in_trash = (0..3).any(|peer| trash_has(&lane.folder(peer), name, content));
        lane.seen.lost += usize::from(!in_trash);
    }
    for (name, content) in files.iter().skip(1).step_by(2) {
        lane.whole_at_all(name, content);
    }
}

/// Whether the trash of a folder has a file of this name, or of one that begins so, with this content.
fn trash_has(folder: &Path, name: &str, content: &[u8]) -> bool {
    let trash = fs::read_dir(folder.join(".peerlab/trash")).into_iter().flatten().flatten();
    let named = |path: &PathBuf| path.file_name().is_some_and(|it| it.to_string_lossy().contains(name));
    trash
        .map(|entry| entry.path())
        .filter(named)
        .any(|path| fs::read(path).is_ok_and(|found| found == content))
}
