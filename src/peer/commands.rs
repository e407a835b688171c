//! The verbs, one function each, used by the prompt and by the command line alike.
//!
//! A command prints its result on stdout (as text, or as one JSON object with `--json`) and everything
//! else on stderr, so that a script can read the one and a person the other. What can go wrong is an
//! [`Error`] that says what to do next; nobody but `main` and the prompt decides what happens then.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use clap::Subcommand;
use crossbeam_channel::unbounded;
use log::debug;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use serde_json::json;

use super::file_commands::bounds;
use super::lease::Lease;
use super::multiply::{self, Done, Report};
use super::progress::show_progress;
use super::{Config, Peer};
use crate::cli::say_json;
use crate::error::{Code, Error, Kind, Result};
use crate::matrix::freivalds::{self, Verdict};
use crate::matrix::strassen::{self, MAX_LEVELS, Plan};
use crate::matrix::{Matrix, npy};
use crate::net::connection::Connection;
use crate::net::limits;
use crate::net::message::{FromManager, State, ToManager};
use crate::share::FileName;
use crate::share::picker::Order;
use crate::share::theory::Setting;
use crate::share::units::Bytes;

/// What a user can ask for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve others until SIGINT (Ctrl-C) or SIGTERM
    Serve {
        /// How many products to serve at once; the same as before the command
        #[arg(long, value_name = "N")]
        slots: Option<u32>,
    },
    /// Write a random matrix as NAME.npy
    Make {
        /// The file to write; `.npy` is added if it is missing
        #[arg(value_name = "NAME")]
        matrix: PathBuf,
        /// How many rows
        rows: usize,
        /// How many columns; as many as rows if absent
        cols: Option<usize>,
        /// Makes the same matrix again
        #[arg(long)]
        seed: Option<u64>,
        /// Whole numbers from -9 to 9, whose products are exact
        #[arg(long)]
        integers: bool,
    },
    /// Multiply two matrices by leased peers
    Multiply {
        /// The left matrix
        #[arg(value_name = "A.npy")]
        a: PathBuf,
        /// The right matrix
        #[arg(value_name = "B.npy")]
        b: PathBuf,
        /// Where to write the product; not written if absent
        #[arg(short, long, value_name = "C.npy")]
        output: Option<PathBuf>,
        /// How often the matrices are cut: 0 is one product, 1 is seven, 2 is forty-nine
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_LEVELS)))]
        levels: u32,
        /// How many slots to lease; one is enough for --levels 0
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        slots: Option<u32>,
        /// Without a network, on all cores of this machine
        #[arg(long, conflicts_with_all = ["levels", "slots"])]
        local: bool,
    },
    /// Hold slots by hand, and see the queue (at the prompt only)
    Lease {
        /// How many slots
        #[arg(default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
        slots: u32,
    },
    /// Give back the slots that `lease` got (at the prompt only)
    Release,
    /// Offer a file: copy it into the shared folder, and serve it
    Add {
        /// The file
        path: PathBuf,
    },
    /// What all other peers offer, asked of the peers themselves
    Get,
    /// Download a file from all its holders at once
    Down {
        /// The name of the file
        #[arg(value_name = "NAME")]
        file: FileName,
        /// Where to save it; the current folder if absent, at the prompt the shared one
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Go on serving it until a signal
        #[arg(long)]
        stay: bool,
        /// Which pieces come first: rarest, sequential or split
        #[arg(long, default_value = "rarest", value_name = "ORDER")]
        pick: Order,
    },
    /// The manager's list of files, and who has them
    Files,
    /// Check a file of the shared folder piece by piece, and repair it from others
    Verify {
        /// The name of the file
        #[arg(value_name = "NAME")]
        file: FileName,
    },
    /// How long a distribution takes at best, from one server and from each other
    Bounds {
        /// The size of the file
        #[arg(long)]
        size: Bytes,
        /// What the seed uploads per second
        #[arg(long, value_name = "RATE")]
        seed_up: Bytes,
        /// What each peer uploads per second
        #[arg(long, value_name = "RATE")]
        peer_up: Bytes,
        /// What each peer downloads per second; without limit if absent
        #[arg(long, value_name = "RATE")]
        peer_down: Option<Bytes>,
        /// How many peers want it
        #[arg(long, value_name = "N")]
        peers: u64,
    },
    /// Who is here, with how many slots
    Peers,
    /// What this peer is doing
    Status,
    /// What is waited for in the network, and why
    Why,
    /// Leave the prompt
    Quit,
}

/// Where commands run: a peer that has joined, or one that has not yet, and how results are shown.
#[derive(Debug)]
pub struct Shell {
    config: Config,
    peer: Arc<OnceLock<Arc<Peer>>>,
    lease: Option<Lease>,
    /// At the prompt: the peer stays between commands.
    stays: bool,
    /// What was asked for is done: a signal is the ordinary end.
    done: Arc<AtomicBool>,
}

impl Shell {
    /// For one command: a peer joins only if the command needs one.
    pub fn for_one_command(config: Config) -> Self {
        Self { config, peer: Arc::default(), lease: None, stays: false, done: Arc::default() }
    }

    /// For many commands of a peer that runs already.
    pub fn for_prompt(peer: Arc<Peer>) -> Self {
        let (config, done) = (peer.config().clone(), Arc::default());
        Self { config, peer: Arc::new(peer.into()), lease: None, stays: true, done }
    }

    /// The place where the peer will be, for whoever must make it leave in the middle of a command.
    pub fn place_of_peer(&self) -> Arc<OnceLock<Arc<Peer>>> {
        Arc::clone(&self.peer)
    }

    /// Whether what was asked for is done, so that a signal is the ordinary end.
    pub fn done(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.done)
    }

    /// Whether the peer stays between commands.
    pub(super) fn stays(&self) -> bool {
        self.stays
    }

    /// How the peer is to behave.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Gives back what is leased, and leaves.
    pub fn leave(mut self) {
        drop(self.lease.take());
        if let Some(peer) = self.peer.get() {
            peer.membership().say_goodbye();
        }
    }

    /// The peer, which joins now if it has not.
    pub(super) fn peer(&mut self) -> Result<Arc<Peer>> {
        if let Some(peer) = self.peer.get() {
            return Ok(Arc::clone(peer));
        }
        let peer = Arc::new(Peer::start(self.config.clone())?);
        peer.membership().first_number()?;
        Ok(Arc::clone(self.peer.get_or_init(|| peer)))
    }

    /// Runs one command.
    ///
    /// # Errors
    /// What failed, and what to do next.
    pub fn run(&mut self, command: Command, json: bool) -> Result<()> {
        match command {
            Command::Make { matrix, rows, cols, seed, integers } => {
                make(&matrix, rows, cols.unwrap_or(rows), seed, integers, json)
            }
            Command::Multiply { a, b, output, levels, slots, local } => {
                let slots = slots.unwrap_or(if levels == 0 { 1 } else { 7 });
                let how = if local { How::Local } else { How::Leased { peer: self.peer()?, levels, slots } };
                run_multiply(&a, &b, output.as_deref(), &how, json)
            }
            Command::Lease { slots } => self.lease(slots, json),
            Command::Release => self.release(json),
            Command::Add { path } => self.add(&path, json),
            Command::Get => self.get(json),
            Command::Down { file, output, stay, pick } => self.down(&file, output, stay, pick, json),
            Command::Files => self.files(json),
            Command::Verify { file } => self.verify(&file, json),
            Command::Bounds { size, seed_up, peer_up, peer_down, peers } => {
                let down = peer_down.map(|rate| rate.0);
                bounds(&Setting::alike(size.0, seed_up.0, peers, peer_up.0, down), json)
            }
            Command::Peers => self.peers(json),
            Command::Status => self.status(json),
            Command::Why => self.why(json),
            Command::Serve { .. } | Command::Quit => Err(Error::new(
                Kind::Usage,
                if self.stays { "this peer is serving already" } else { "there is no prompt to leave" },
            )
            .advise("`help` shows the commands")),
        }
    }

    /// Lease slots and hold them.
    fn lease(&mut self, slots: u32, json: bool) -> Result<()> {
        if !self.stays {
            return Err(Error::new(Kind::Usage, "slots are held by hand at the prompt only")
                .advise("start `peer` and type `lease` there"));
        }
        if let Some(lease) = &self.lease
            && lease.left().is_some()
        {
            return Err(Error::new(Code::Conflict, format!("you hold {} slots already", lease.size()))
                .advise("`release` them first"));
        }
        let peer = self.peer()?;
        let asker = peer.membership().first_number()?;
        let mut told = None;
        let mut on_wait = |wait: super::lease::Wait| {
            if told != Some(wait.position) {
                eprintln!(
                    "waiting for {} slots, place {} in the queue: {}",
                    wait.asked, wait.position, wait.reason
                );
                told = Some(wait.position);
            }
            Ok(())
        };
        let lease = Lease::ask(self.config.manager, asker, slots, &mut on_wait)?;
        if json {
            let left = lease.left().map_or(0, |left| left.as_millis() as u64);
            say_json(&json!({"lease": lease.number(), "for_ms": left, "slots": lease.slots()}))?;
        } else {
            println!("leased {} slots, renewed while nobody else waits:", lease.size());
            for card in lease.slots() {
                println!("  {:3} at {:16} {}", card.slots, card.name, card.addr);
            }
        }
        self.lease = Some(lease);
        Ok(())
    }

    /// Gives back what `lease` got.
    fn release(&mut self, json: bool) -> Result<()> {
        let Some(lease) = self.lease.take() else {
            return Err(Error::new(Code::NotFound, "you hold no slots").advise("`lease 7` gets seven"));
        };
        let over = lease.over();
        if json {
            say_json(&json!({"lease": lease.number(), "released": over.is_none(), "over": over}))?;
        } else if let Some(why) = over {
            println!("the lease had ended already: {why}");
        } else {
            println!("released {} slots", lease.size());
        }
        Ok(())
    }

    /// The manager's table.
    fn peers(&mut self, json: bool) -> Result<()> {
        let state = ask_state(&self.config)?;
        if json {
            return say_json(&json!({"peers": state.peers}));
        }
        if state.peers.is_empty() {
            println!("nobody is here; `peer serve` starts a peer");
            return Ok(());
        }
        println!("{:16} {:21} {:>5} {:>4}", "name", "address", "slots", "used");
        for peer in state.peers {
            let note = if peer.slots > 0 { &*peer.reason } else { "" };
            let line = format!(
                "{:16} {:21} {:5} {:4}  {note}",
                peer.name,
                peer.addr.to_string(),
                peer.slots,
                peer.used
            );
            println!("{}", line.trim_end());
        }
        Ok(())
    }

    /// What this peer is doing.
    fn status(&mut self, json: bool) -> Result<()> {
        let peer = self.peer()?;
        let standing = peer.membership().standing();
        let (slots, serving) = peer.load();
        let held = self.lease.as_ref().and_then(|lease| Some((lease, lease.left()?)));
        let trouble = standing.trouble.map(|(why, since)| (why, since.elapsed().as_secs_f64()));
        if json {
            let held = held.map(|(lease, left)| {
                json!({"lease": lease.number(), "for_ms": left.as_millis() as u64, "slots": lease.slots()})
            });
            return say_json(&json!({
                "name": self.config.name, "addr": peer.addr(), "manager": self.config.manager,
                "peer": standing.number, "slots": slots, "serving": serving, "lease": held,
                "trouble": trouble.map(|(why, _)| why),
                "files": peer.sharing().count(), "uploads": peer.uploads().status(),
            }));
        }
        println!("{} listens on {}", self.config.name, peer.addr());
        match standing.number {
            Some(number) => println!("joined at {} as number {number}", self.config.manager),
            None => println!("not joined"),
        }
        if let Some((why, since)) = trouble {
            println!("trouble for {since:.0} s: {why}");
        }
        println!("serves {serving} products in {slots} slots");
        match held {
            Some((lease, left)) => {
                println!("holds {} slots for another {:.0} s", lease.size(), left.as_secs_f64());
            }
            None => println!("holds no slots"),
        }
        println!("offers {} files", peer.sharing().count());
        for upload in peer.uploads().status() {
            let how = if upload.served { "is served" } else { "is choked" };
            println!("uploads {} to {}, which {how}: {} pieces", upload.file, upload.to, upload.pieces);
        }
        Ok(())
    }

    /// What is waited for, by this peer and by others.
    fn why(&mut self, json: bool) -> Result<()> {
        let trouble = self.peer.get().and_then(|peer| peer.membership().standing().trouble);
        let over = self.lease.as_ref().and_then(Lease::over);
        let state = ask_state(&self.config)?;
        let mut reasons: Vec<String> = Vec::new();
        reasons
            .extend(trouble.map(|(why, since)| format!("for {:.0} s: {why}", since.elapsed().as_secs_f64())));
        reasons.extend(over.map(|why| format!("your lease ended: {why}; `lease` asks again")));
        let obstacles = state.peers.iter().filter(|peer| peer.slots > 0 && !peer.leasable);
        reasons.extend(obstacles.map(|peer| format!("{} is not leased: {}", peer.name, peer.reason)));
        if json {
            return say_json(&json!({"reasons": reasons, "queue": state.queue, "leases": state.leases}));
        }
        if reasons.is_empty() && state.queue.is_empty() {
            println!("nothing waits");
        }
        reasons.iter().for_each(|reason| println!("{reason}"));
        let name = |number| {
            let peer = state.peers.iter().find(|peer| peer.peer == number);
            peer.map_or_else(|| "somebody".into(), |peer| peer.name.to_string())
        };
        let now = crate::clock::Clock::new().now();
        for waiter in &state.queue {
            let since = now.saturating_sub(waiter.since) as f64 / 1000.0;
            let (place, who) = (waiter.position, name(waiter.peer));
            println!("{place}. {who} waits for {} slots since {since:.0} s: {}", waiter.asked, waiter.reason);
        }
        Ok(())
    }
}

/// Asks the manager for everything it knows.
fn ask_state(config: &Config) -> Result<State> {
    let mut connection = Connection::connect(config.manager, limits::MANAGER_LINE)
        .map_err(|e| e.advise("start `manager` there, or give its address with --manager"))?;
    connection.send(&ToManager::State {})?;
    match connection.expect(limits::MESSAGE_TIME)? {
        FromManager::State(state) => Ok(*state),
        FromManager::Error(no) => Err(no.into()),
        other => Err(Error::new(Code::BadMessage, format!("not an answer to `state`: {other:?}"))),
    }
}

/// Writes a random matrix.
fn make(name: &Path, rows: usize, cols: usize, seed: Option<u64>, integers: bool, json: bool) -> Result<()> {
    let path = if name.extension().is_some_and(|e| e == "npy") {
        name.to_owned()
    } else {
        let mut name = name.as_os_str().to_owned();
        name.push(".npy");
        name.into()
    };
    // A seed that JSON readers agree on, below 2^53.
    let seed = seed.unwrap_or_else(|| rand::random::<u64>() >> 11);
    let mut rng = StdRng::seed_from_u64(seed);
    Matrix::try_zeros(rows, cols)?;
    let matrix = match integers {
        true => Matrix::random_integers(rows, cols, &mut rng),
        false => Matrix::random(rows, cols, &mut rng),
    };
    save(&matrix, &path)?;
    if json {
        return say_json(
            &json!({"file": path, "rows": rows, "cols": cols, "seed": seed, "integers": integers}),
        );
    }
    let what = if integers { "whole numbers" } else { "reals" };
    println!("{}: {rows} x {cols} {what}, made with --seed {seed}", path.display());
    Ok(())
}

/// How a product is computed.
enum How {
    /// By this machine alone.
    Local,
    /// By leased slots.
    Leased { peer: Arc<Peer>, levels: u32, slots: u32 },
}

/// What `multiply --json` prints. `seconds` runs from both operands in memory to the whole answer in
/// memory, waiting for leases excluded.
#[derive(Debug, Serialize)]
struct Summary {
    rows: usize,
    inner: usize,
    cols: usize,
    seconds: f64,
    load_seconds: f64,
    save_seconds: f64,
    wait_seconds: f64,
    levels: u32,
    checked: bool,
    products: Vec<Done>,
}

/// Loads, multiplies, checks, saves, tells.
fn run_multiply(a: &Path, b: &Path, output: Option<&Path>, how: &How, json: bool) -> Result<()> {
    if let Some(path) = output {
        check_place(path)?;
    }
    let began = Instant::now();
    let (path_a, path_b) = (a, b);
    let (a, b) = (load(path_a)?, load(path_b)?);
    let load_seconds = began.elapsed().as_secs_f64();
    let (rows, inner, cols) = (a.rows(), a.cols(), b.cols());
    if inner != b.rows() {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "the shapes do not fit: {} is {rows} x {inner}, {} is {} x {cols}",
                path_a.display(),
                path_b.display(),
                b.rows()
            ),
        )
        .advise("the left matrix needs as many columns as the right one has rows"));
    }
    let levels = match how {
        How::Local => 0,
        How::Leased { levels, .. } => *levels,
    };
    let plan = Plan::new(rows, inner, cols, levels);
    multiply::check_operands(&a, &b, &plan)?;
    let mut c = Matrix::try_zeros(rows, cols)?;
    let report = match how {
        How::Local => multiply_here(&a, &b, &mut c, &plan)?,
        How::Leased { peer, slots, .. } => multiply_there(peer, &a, &b, &mut c, plan, *slots)?,
    };
    drop((a, b));
    let saving = Instant::now();
    if let Some(path) = output {
        save(&c, path)?;
    }
    let save_seconds = if output.is_some() { saving.elapsed().as_secs_f64() } else { 0.0 };
    let Report { seconds, wait_seconds, products } = report;
    if !json {
        let by = by_whom(&products);
        let target = output.map_or_else(|| "the product".into(), |path| path.display().to_string());
        println!("{target}: {rows} x {cols} in {seconds:.3} s, {by}; checked by Freivalds");
        if wait_seconds > 0.5 {
            println!("waited {wait_seconds:.1} s for slots");
        }
        if output.is_none() {
            println!("not written to a file: -o C.npy does that");
        }
        return Ok(());
    }
    say_json(&Summary {
        rows,
        inner,
        cols,
        seconds,
        load_seconds,
        save_seconds,
        wait_seconds,
        levels,
        checked: true,
        products,
    })
}

/// "7 products by 3 peers (ada 3, ben 2, cyd 2)".
fn by_whom(products: &[Done]) -> String {
    if products.is_empty() {
        return "without peers".into();
    }
    let mut names: Vec<&str> = products.iter().map(|done| &*done.peer).collect();
    names.sort_unstable();
    let shares: Vec<String> =
        names.chunk_by(|x, y| x == y).map(|share| format!("{} {}", share[0], share.len())).collect();
    format!("{} products by {} peers ({})", products.len(), shares.len(), shares.join(", "))
}

/// On all cores of this machine.
fn multiply_here(a: &Matrix, b: &Matrix, c: &mut Matrix, plan: &Plan) -> Result<Report> {
    let began = Instant::now();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    strassen::multiply(a.view(), b.view(), &mut c.view_mut(), cores, &|| true)?;
    if let Verdict::Wrong { row } =
        freivalds::check(&plan.left(0, a), &plan.right(0, b), c.as_slice(), &mut rand::rng())
    {
        return Err(Error::new(Kind::Check, format!("the product is wrong in row {row}"))
            .advise("this machine computes wrongly; test its memory"));
    }
    Ok(Report { seconds: began.elapsed().as_secs_f64(), wait_seconds: 0.0, products: Vec::new() })
}

/// By leased peers, with its progress on stderr.
fn multiply_there(
    peer: &Peer,
    a: &Matrix,
    b: &Matrix,
    c: &mut Matrix,
    plan: Plan,
    slots: u32,
) -> Result<Report> {
    let (progress, events) = unbounded();
    thread::scope(|scope| {
        thread::Builder::new()
            .name("show_progress".into())
            .spawn_scoped(scope, move || show_progress(&events, plan.products()))
            .map_err(|e| Error::failed("cannot start a thread for the progress").because(e))?;
        multiply::multiply(peer, a, b, c, plan, slots, progress)
    })
}

/// Reads a matrix from a file, and refuses one with an entry that is no finite number: Strassen would
/// spread it over the whole answer.
fn load(path: &Path) -> Result<Matrix> {
    let name = path.display();
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::new(Code::NotFound, format!("there is no file {name}"))
            .advise(format!("`make {} 1000` writes one of that name", path.with_extension("").display())),
        _ => Error::failed(format!("cannot open {name}")).because(e),
    })?;
    if !metadata.is_file() {
        return Err(Error::failed(format!("{name} is not a file")).advise("give the path of a .npy file"));
    }
    let matrix = npy::read(BufReader::new(file), metadata.len())
        .map_err(|e| Error::new(e.kind(), format!("{name}: {e}")))?;
    if let Some((row, col)) = matrix.first_non_finite() {
        let value = matrix.row(row)[col];
        return Err(Error::new(
            Code::Infeasible,
            format!("{name} has the entry {value} in row {row}, column {col} (counted from 0)"),
        )
        .advise("replace entries that are not finite numbers: they would spread over the whole product"));
    }
    debug!("read {name}: {} x {}", matrix.rows(), matrix.cols());
    Ok(matrix)
}

/// Looks whether an answer could be written there, before others work for it.
fn check_place(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Error::new(Code::NotFound, format!("there is no folder {}", folder.display()))
            .advise("make it first, or choose another place"));
    }
    if path.is_dir() {
        return Err(
            Error::failed(format!("{} is a folder", path.display())).advise("give the name of a file in it")
        );
    }
    Ok(())
}

/// Writes a matrix to a file, which appears under its name only when it is whole and on the disk. What is
/// no plain file, such as a pipe or `/dev/null`, is written to and not replaced.
fn save(matrix: &Matrix, path: &Path) -> Result<()> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        Error::failed(format!("cannot write {}", path.display()))
            .because(e)
            .advise("choose another place, or make room there")
    };
    // A link stands for what it leads to.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(path).is_ok_and(|is| !is.is_file() && !is.is_dir()) {
        let device = File::options().write(true).open(path).map_err(|e| failed(e.into()))?;
        return npy::write(matrix, device).map_err(|e| failed(e.into()));
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As a file that is made in the usual way; the user's umask still applies.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.prefix(".peerlab-").tempfile_in(folder).map_err(|e| failed(e.into()))?;
    npy::write(matrix, &mut file).map_err(|e| failed(e.into()))?;
    file.flush().map_err(|e| failed(e.into()))?;
    file.as_file().sync_all().map_err(|e| failed(e.into()))?;
    file.persist(path).map_err(|e| failed(e.error.into()))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(e.into()))
}
