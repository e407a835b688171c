//! The verbs and their arguments: the grammar of the command line and of the prompt.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use crate::matrix::strassen::MAX_LEVELS;
use crate::share::FileName;
use crate::share::picker::PickOrder;
use crate::share::units::parse_bytes;

/// What a user can ask for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve others until SIGINT (Ctrl-C) or SIGTERM
    #[command(after_help = "Example: peer serve --name ada --data shared --up 20M")]
    Serve {
        /// How many products to serve at once; the same as before the command
        #[arg(long, value_name = "N")]
        slots: Option<u32>,
    },
    /// Write a random matrix as NAME.npy
    #[command(after_help = "Example: peer make a 1000 700 --integers")]
    Make(MakeOptions),
    /// Print a matrix: its shape, its range, and at most eight rows and columns
    #[command(after_help = "Example: peer show a.npy")]
    Show {
        /// The file
        #[arg(value_name = "A.npy")]
        matrix: PathBuf,
    },
    /// Multiply two matrices by leased peers
    #[command(after_help = "Example: peer multiply a.npy b.npy -o c.npy")]
    Multiply(MultiplyOptions),
    /// Hold slots by hand, and see the queue (at the prompt only)
    #[command(after_help = "Example, at the prompt: lease 7")]
    Lease {
        /// How many slots
        #[arg(default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
        slots: u32,
    },
    /// Give back the slots that `lease` got (at the prompt only)
    #[command(after_help = "Example, at the prompt: release")]
    Release,
    /// Offer a file: copy it into the shared folder, and serve it
    #[command(after_help = "Example: peer add lecture.pdf")]
    Add {
        /// The file
        path: PathBuf,
    },
    /// What all other peers offer, asked of the peers themselves
    #[command(after_help = "Example: peer get")]
    Get,
    /// Download a file from all its holders at once
    #[command(after_help = "Example: peer down lecture.pdf -o downloads --stay")]
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
        #[arg(long, default_value = "rarest", value_name = "ORDER", ignore_case = true)]
        pick: PickOrder,
    },
    /// Remove a file everywhere: every peer moves it into its trash
    #[command(after_help = "Example: peer drop lecture.pdf")]
    Drop {
        /// The name of the file
        #[arg(value_name = "NAME")]
        file: FileName,
    },
    /// Bring back a dropped file from this peer's own trash, and offer it again
    #[command(after_help = "Example: peer restore lecture.pdf --data peerlab-ada")]
    Restore {
        /// The name that it had when it was dropped
        #[arg(value_name = "NAME")]
        file: FileName,
        /// Other bytes than those that were dropped last: their id, or its first digits
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// A new name for it, where that one is in use
        #[arg(long = "as", value_name = "NEW")]
        new: Option<FileName>,
    },
    /// The manager's list of files, and who has them
    #[command(after_help = "Example: peer files --health")]
    Files {
        /// Whether as many peers have each as the manager's policy asks, and if not, why
        #[arg(long)]
        health: bool,
    },
    /// Check a file of the shared folder piece by piece, and repair it from others
    #[command(after_help = "Example: peer verify lecture.pdf --data peerlab-ada")]
    Verify {
        /// The name of the file
        #[arg(value_name = "NAME")]
        file: FileName,
    },
    /// How long a distribution takes at best, from one server and from each other
    #[command(after_help = "Example: peer bounds --size 15Gbit --seed-up 30Mbit --peer-up 2Mbit --peers 100")]
    Bounds {
        /// The size of the file
        #[arg(long, value_parser = parse_bytes)]
        size: u64,
        /// What the seed uploads per second
        #[arg(long, value_name = "RATE", value_parser = parse_bytes)]
        seed_up: u64,
        /// What each peer uploads per second
        #[arg(long, value_name = "RATE", value_parser = parse_bytes)]
        peer_up: u64,
        /// What each peer downloads per second; without limit if absent
        #[arg(long, value_name = "RATE", value_parser = parse_bytes)]
        peer_down: Option<u64>,
        /// How many peers want it
        #[arg(long, value_name = "N")]
        peers: u64,
    },
    /// Who is here, with how many slots
    #[command(after_help = "Example: peer peers")]
    Peers,
    /// What this peer is doing
    #[command(after_help = "Example, at the prompt: status")]
    Status,
    /// Which requests wait, and for what
    #[command(after_help = "Example: peer why")]
    Why,
    /// Leave the prompt
    #[command(alias = "exit", after_help = "Example, at the prompt: quit")]
    Quit,
}

impl Command {
    /// What is said when a signal ends a program that came for this one.
    pub fn when_stopped(&self) -> String {
        match self {
            Self::Make(_) => "stopped: nothing is written".into(),
            Self::Multiply(_) => "stopped: there is no product".into(),
            Self::Down { file, .. } => {
                format!(
                    "stopped: the pieces of {file} that came are kept, and the same command goes on from there"
                )
            }
            Self::Add { path } => format!("stopped: {} may not be offered", path.display()),
            _ => "stopped".into(),
        }
    }

    /// Whether it needs neither a manager nor a secret, wrong as these may be.
    pub fn is_local(&self) -> bool {
        let alone = matches!(self, Self::Multiply(options) if options.local);
        alone || matches!(self, Self::Make(_) | Self::Show { .. } | Self::Bounds { .. })
    }
}

/// Which matrix to make, and where.
#[derive(Debug, Args)]
pub struct MakeOptions {
    /// The file to write; `.npy` is added if it is missing
    #[arg(value_name = "NAME")]
    pub(super) matrix: PathBuf,
    /// How many rows
    #[arg(allow_negative_numbers = true, value_parser = whole::<usize>)]
    pub(super) rows: usize,
    /// How many columns; as many as rows if absent
    #[arg(allow_negative_numbers = true, value_parser = whole::<usize>)]
    pub(super) cols: Option<usize>,
    /// Makes the same matrix again
    #[arg(long, allow_negative_numbers = true, value_parser = whole::<u64>)]
    pub(super) seed: Option<u64>,
    /// Whole numbers from -9 to 9, whose products are exact
    #[arg(long)]
    pub(super) integers: bool,
    /// Replace a file of this name, whatever it is
    #[arg(long)]
    pub(super) force: bool,
}

/// A number of rows, say.
fn whole<N: FromStr>(text: &str) -> Result<N, &'static str> {
    text.parse().map_err(|_| "write a whole number, such as 1000")
}

/// What to multiply, and how.
#[derive(Debug, Args)]
pub struct MultiplyOptions {
    /// The left matrix
    #[arg(value_name = "A.npy")]
    pub(super) a: PathBuf,
    /// The right matrix
    #[arg(value_name = "B.npy")]
    pub(super) b: PathBuf,
    /// Where to write the product, `-` for stdout; not written if absent
    #[arg(short, long, value_name = "C.npy")]
    pub(super) output: Option<PathBuf>,
    /// How often the matrices are cut: 0 is one product, 1 is seven, 2 is forty-nine
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_LEVELS)))]
    pub(super) levels: u32,
    /// How many slots to lease; one is enough for --levels 0
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) slots: Option<u32>,
    /// Without a network, on all cores of this machine
    #[arg(long, conflicts_with_all = ["levels", "slots"])]
    pub(super) local: bool,
    /// Replace a file of this name, whatever it is
    #[arg(long, requires = "output")]
    pub(super) force: bool,
}

/// The words of a line. The command among them is understood in any case: it is the first that is neither an option nor
/// an option's value.
pub fn in_lower_case(
    words: impl IntoIterator<Item = impl Into<OsString>>,
    grammar: &clap::Command,
) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let takes_value = |word: &OsStr| {
        let long = word.to_str().and_then(|word| word.strip_prefix("--"));
        let named = |arg: &&clap::Arg| long.is_some() && arg.get_long() == long;
        grammar.get_arguments().find(named).is_some_and(|arg| arg.get_action().takes_values())
    };
    let mut value = false;
    let command = words.iter_mut().find(|word| {
        let option = word.as_encoded_bytes().starts_with(b"-");
        let command = !value && !option;
        value = !value && option && takes_value(word);
        command
    });
    command.into_iter().for_each(|command| command.make_ascii_lowercase());
    words
}
