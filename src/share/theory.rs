//! How long it takes at best to bring a file to N peers: the lecture's two bounds.
//!
//! # The problem
//! A server, the *seed*, has a file of F bytes and uploads u_s bytes per second. N peers want it; peer i
//! uploads u_i, and the slowest downloads d_min. After what time can all of them have it? Nobody can be
//! faster than the narrowest place through which the bytes must go:
//!
//! ```text
//! from the server alone   D_cs  >= max( N F / u_s,              F / d_min )
//! from each other         D_p2p >= max(   F / u_s,  F / d_min,  N F / (u_s + u_1 + ... + u_N) )
//! ```
//!
//! (Kurose and Ross, Computer Networking, section 2.5.) The server must send N copies, or at least one;
//! the slowest must receive one; and all links together must carry N copies. D_cs grows with N for ever.
//! D_p2p flattens: every newcomer brings a link of its own.
//!
//! # An example
//! F = 32 MiB, u_s = 8 MiB/s, N peers that upload 4 MiB/s each, downloads without limit.
//! For N = 16: D_cs = 16 · 32 / 8 = 64 s; D_p2p = 16 · 32 / (8 + 16 · 4) = 512 / 72 = 7.1 s.
//! For N = 1: all links together need 32 / 12 = 2.7 s, but the seed's alone 32 / 8 = 4 s, and that binds.
//!
//! # What is missing
//! These are bounds, not forecasts: they know nothing of pieces, of latency, of peers that come late or
//! leave early, nor of the two or three pieces' time in which a swarm starts and ends.

/// Who wants what, over which links. Sizes in bytes, rates in bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// F, the size of the file.
    pub size: u64,
    /// u_s, what the seed uploads.
    pub seed_up: u64,
    /// N, how many want the file.
    pub peers: u64,
    /// u_1 + ... + u_N, what all peers together upload.
    pub peers_up: u64,
    /// d_min, what the slowest peer downloads; `None` where that is not limited.
    pub slowest_down: Option<u64>,
}

impl Setting {
    /// N peers that are all alike.
    pub fn alike(size: u64, seed_up: u64, peers: u64, peer_up: u64, peer_down: Option<u64>) -> Self {
        Self { size, seed_up, peers, peers_up: peers.saturating_mul(peer_up), slowest_down: peer_down }
    }
}

/// The narrowest place: the term of the maximum that binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// N F / u_s: the server sends every copy itself.
    EveryCopyFromServer,
    /// F / u_s: the seed sends every byte at least once.
    OneCopyFromSeed,
    /// F / d_min: the slowest peer receives every byte.
    SlowestDownload,
    /// N F / (u_s + sum u_i): all links together carry every copy.
    AllUploads,
}

impl Term {
    /// The term as the lecture writes it, and what it says in plain words.
    pub fn texts(self) -> [&'static str; 2] {
        match self {
            Self::EveryCopyFromServer => ["N F / u_s", "the server must upload a copy for every peer"],
            Self::OneCopyFromSeed => ["F / u_s", "the seed must upload every byte once"],
            Self::SlowestDownload => ["F / d_min", "the slowest peer must download the whole file"],
            Self::AllUploads => {
                ["N F / (u_s + sum u_i)", "all uploads together must carry a copy for every peer"]
            }
        }
    }
}

/// No way of distributing the file is faster than this.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowerBound {
    /// The time in seconds; infinite where a link that is needed has no rate at all.
    pub seconds: f64,
    /// Why it cannot be less.
    pub term: Term,
}

/// D_cs: every peer gets its copy from the server.
///
/// ```
/// use peerlab::share::theory::{client_server, swarm, Setting, Term};
/// let setting = Setting::alike(32 << 20, 8 << 20, 16, 4 << 20, None);
/// assert_eq!(client_server(&setting).seconds, 64.0);
/// assert!((swarm(&setting).seconds - 512.0 / 72.0).abs() < 1e-12);
/// assert_eq!(swarm(&setting).term, Term::AllUploads);
/// ```
pub fn client_server(setting: &Setting) -> LowerBound {
    setting.narrowest(Term::EveryCopyFromServer, &[Term::SlowestDownload])
}

/// D_p2p: peers pass on what they have.
pub fn swarm(setting: &Setting) -> LowerBound {
    setting.narrowest(Term::OneCopyFromSeed, &[Term::SlowestDownload, Term::AllUploads])
}

impl Setting {
    /// The largest; of several that are equal, the first.
    fn narrowest(&self, first: Term, others: &[Term]) -> LowerBound {
        let others = others.iter().map(|&term| self.bound(term));
        others.fold(self.bound(first), |most, bound| if bound.seconds > most.seconds { bound } else { most })
    }

    fn bound(&self, term: Term) -> LowerBound {
        let Self { size, seed_up, peers, peers_up, slowest_down } = *self;
        // Where nobody wants it, not even one copy is needed.
        let (all, one) = (peers as f64 * size as f64, peers.min(1) as f64 * size as f64);
        let (bytes, rate) = match term {
            Term::EveryCopyFromServer => (all, seed_up as f64),
            Term::OneCopyFromSeed => (one, seed_up as f64),
            Term::SlowestDownload => (one, slowest_down.map_or(f64::INFINITY, |rate| rate as f64)),
            Term::AllUploads => (all, seed_up as f64 + peers_up as f64),
        };
        // Nothing takes no time, also over a link that carries nothing.
        let seconds = if bytes == 0.0 { 0.0 } else { bytes / rate };
        LowerBound { seconds, term }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// The bounds for F = 32 MiB, u_s = 8 MiB/s, u_i = 4 MiB/s.
    fn measured(peers: u64, down: Option<u64>) -> (LowerBound, LowerBound) {
        let setting = Setting::alike(32 * MIB, 8 * MIB, peers, 4 * MIB, down);
        (client_server(&setting), swarm(&setting))
    }

    fn is(bound: LowerBound, seconds: f64, term: Term) {
        assert!((bound.seconds - seconds).abs() < 1e-12, "{bound:?} instead of {seconds}");
        assert_eq!(bound.term, term, "{bound:?}");
    }

    #[test]
    fn each_term_is_said_as_the_lecture_writes_it() {
        use Term::*;
        let all = [EveryCopyFromServer, OneCopyFromSeed, SlowestDownload, AllUploads];
        let formulas = ["N F / u_s", "F / u_s", "F / d_min", "N F / (u_s + sum u_i)"];
        assert_eq!(all.map(|term| term.texts()[0]), formulas);
        assert!(all.iter().all(|term| term.texts()[1].contains(" must ")));
    }

    #[test]
    fn the_bounds_are_those_computed_by_hand() {
        use Term::*;
        // N, D_cs = 4 N, D_p2p = max(4, 32 N / (8 + 4 N)).
        for (peers, cs, p2p, term) in [
            (1, 4.0, 4.0, OneCopyFromSeed),
            (2, 8.0, 4.0, OneCopyFromSeed),
            (3, 12.0, 4.8, AllUploads),
            (4, 16.0, 128.0 / 24.0, AllUploads),
            (8, 32.0, 6.4, AllUploads),
            (16, 64.0, 512.0 / 72.0, AllUploads),
            (32, 128.0, 1024.0 / 136.0, AllUploads),
        ] {
            let (server, swarm) = measured(peers, None);
            is(server, cs, EveryCopyFromServer);
            is(swarm, p2p, term);
        }
    }

    #[test]
    fn a_slow_download_binds_both() {
        let (server, swarm) = measured(3, Some(2 * MIB));
        is(server, 16.0, Term::SlowestDownload);
        is(swarm, 16.0, Term::SlowestDownload);
    }

    #[test]
    fn the_lectures_figure_flattens_below_one_hour() {
        // u_s = 10 u, d_min >= u_s, F / u = 1 hour: D_p2p = N / (10 + N) hours, and D_cs = N / 10.
        for peers in [1, 5, 10, 35] {
            let setting = Setting::alike(3600, 10, peers, 1, Some(10));
            let n = peers as f64;
            assert!((client_server(&setting).seconds - 3600.0 * f64::max(n / 10.0, 0.1)).abs() < 1e-9);
            assert!((swarm(&setting).seconds - 3600.0 * f64::max(n / (10.0 + n), 0.1)).abs() < 1e-9);
        }
    }

    #[test]
    fn nothing_takes_no_time_and_a_dead_link_takes_for_ever() {
        assert_eq!(swarm(&Setting::alike(0, 0, 3, 0, None)).seconds, 0.0);
        assert_eq!(swarm(&Setting::alike(1, 8, 0, 4, None)).seconds, 0.0);
        let dead = swarm(&Setting::alike(1, 0, 3, 4, None));
        assert_eq!((dead.seconds, dead.term), (f64::INFINITY, Term::OneCopyFromSeed));
        let largest = swarm(&Setting::alike(u64::MAX, u64::MAX, u64::MAX, u64::MAX, None));
        assert!(largest.seconds.is_finite());
    }
}
