//! What lasts: waiting for slots, being choked, computing. A band beside a lane, from one message to another.

use super::merge::{Arrow, Chart};

/// A stretch of time at a lane.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Band {
    pub(crate) lane: usize,
    pub(crate) kind: Lasting,
    /// The arrow with which it begins.
    pub(crate) begins: usize,
    /// The arrow with which it ends; none where the chart ends first.
    pub(crate) ends: Option<usize>,
}

/// What is done meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// From `lease` to `leased`, if there was a `wait`.
    Waits,
    /// From `interested`, or from `choke`, to `unchoke`.
    Choked,
    /// From `multiply` to `product`.
    Computes,
}

impl Lasting {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Waits => "waits for slots",
            Self::Choked => "is choked",
            Self::Computes => "computes",
        }
    }

    /// What begins with this message, at the lane that said or that heard it.
    fn begun_by(arrow: &Arrow) -> Option<(Self, usize)> {
        match arrow.kind() {
            "lease" => Some((Self::Waits, arrow.from)),
            "interested" if arrow.message["on"] == true => Some((Self::Choked, arrow.from)),
            "choke" => Some((Self::Choked, arrow.to)),
            "multiply" => Some((Self::Computes, arrow.to)),
            _ => None,
        }
    }

    fn is_ended_by(self, kind: &str) -> bool {
        match self {
            Self::Waits => matches!(kind, "leased" | "released" | "error"),
            Self::Choked => matches!(kind, "unchoke" | "interested" | "error"),
            Self::Computes => matches!(kind, "product" | "error"),
        }
    }
}

/// All bands of a chart.
pub(crate) fn bands(chart: &Chart) -> Vec<Band> {
    let arrows = &chart.arrows;
    let mut bands = Vec::new();
    for (begins, arrow) in arrows.iter().enumerate() {
        let Some((kind, lane)) = Lasting::begun_by(arrow) else { continue };
        let mut later = arrows.iter().enumerate().skip(begins + 1);
        let same = |other: &Arrow| other.connection() == arrow.connection();
        let ends = later.find(|(_, other)| same(other) && kind.is_ended_by(other.kind())).map(|(at, _)| at);
        let between = &arrows[begins..ends.unwrap_or(arrows.len())];
        let waited = between.iter().any(|other| same(other) && other.kind() == "wait");
        // One that wants nothing does not wait.
        let before = arrows[..begins]
            .iter()
            .rev()
            .find(|other| same(other) && (other.from, other.kind()) == (lane, "interested"));
        let wants = before.is_none_or(|other| other.message["on"] == true) || arrow.kind() != "choke";
        if (kind != Lasting::Waits || waited) && wants {
            bands.push(Band { lane, kind, begins, ends });
        }
    }
    bands
}
