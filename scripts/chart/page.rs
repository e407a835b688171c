//! Where everything stands on the page: lanes from left to right, moments from top to bottom.
//!
//! Each end of an arrow has a place of its own, in the order of time. So at each lane things stand in the order in
//! which they happened there, and an arrow is steep where others were faster. A gap stands for a time in which nothing
//! happens.

use super::bands::Band;
use super::merge::{Arrow, Chart};
use super::records::Micros;

/// From one message to the next, in pixels.
const ROW: f64 = 25.0;

/// From where a message is said to where it is heard, if nothing happens in between; and between two that are heard.
const SLOPE: f64 = 7.0;

/// A longer time in which nothing happens is a gap, in microseconds.
const GAP: Micros = 100_000;

/// What a gap takes.
const GAP_ROW: f64 = 26.0;

/// Where the first lane stands, and where its time begins.
const LEFT: f64 = 122.0;
pub(crate) const TOP: f64 = 84.0;

/// How wide a letter is, on the average.
const LETTER: f64 = 6.6;

/// Where what is written at an arrow begins, and how much room it leaves.
pub(crate) const INDENT: f64 = 12.0;

/// A chart that has its places.
pub(crate) struct Page<'a> {
    pub(crate) chart: &'a Chart,
    /// For each arrow, where it is said and where it is heard.
    pub(crate) ends: Vec<(f64, f64)>,
    /// Where the notes are.
    pub(crate) notes: Vec<f64>,
    /// Where the gaps are, and how long.
    pub(crate) gaps: Vec<(f64, Micros)>,
    /// From lane to lane.
    apart: f64,
    /// Where the lanes end.
    pub(crate) bottom: f64,
}

/// Something that happens at one lane. What is said and heard in one microsecond is said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Note(usize),
    Said(usize),
    Heard(usize),
}

impl<'a> Page<'a> {
    /// Gives everything its place; `labels` are what is written at the arrows.
    pub(crate) fn lay_out(chart: &'a Chart, labels: &[String]) -> Self {
        let wide = |(arrow, label): (&Arrow, &String)| {
            let lanes = arrow.from.abs_diff(arrow.to).max(1);
            (label.chars().count() as f64 * LETTER + 3.0 * INDENT) / lanes as f64
        };
        let apart = chart.arrows.iter().zip(labels).map(wide).fold(160.0, f64::max);
        let (ends, notes) = (vec![(0.0, 0.0); chart.arrows.len()], vec![0.0; chart.notes.len()]);
        let mut page = Self { chart, ends, notes, gaps: Vec::new(), apart, bottom: TOP };
        page.place_moments();
        page
    }

    /// Everything that happens, in the order of time.
    fn moments(&self) -> Vec<(Micros, Moment)> {
        let notes = self.chart.notes.iter().enumerate().map(|(i, note)| (note.0, Moment::Note(i)));
        let arrows = self.chart.arrows.iter().enumerate().flat_map(|(i, arrow)| {
            let heard = arrow.heard.filter(|_| arrow.said.is_some());
            [Some((arrow.begins(), Moment::Said(i))), heard.map(|at| (at, Moment::Heard(i)))]
        });
        let mut moments: Vec<_> = notes.chain(arrows.flatten()).collect();
        moments.sort();
        moments
    }

    fn place_moments(&mut self) {
        let mut before: Option<(Micros, Moment)> = None;
        let mut y = TOP;
        for (at, moment) in self.moments() {
            let (last, previous) = before.replace((at, moment)).unwrap_or((at, moment));
            if at - last > GAP {
                self.gaps.push((y + GAP_ROW - 4.0, at - last));
                y += GAP_ROW;
            }
            y += match (previous, moment) {
                (_, Moment::Heard(_)) => SLOPE,
                (Moment::Heard(_), _) => ROW - SLOPE,
                _ => ROW,
            };
            match moment {
                Moment::Note(note) => self.notes[note] = y,
                // Where the other end is not known it is drawn level.
                Moment::Said(arrow) => self.ends[arrow] = (y, y),
                Moment::Heard(arrow) => self.ends[arrow].1 = y,
            }
        }
        self.bottom = y + 18.0;
    }

    /// Where a lane stands.
    pub(crate) fn x(&self, lane: usize) -> f64 {
        LEFT + lane as f64 * self.apart
    }

    /// How wide and how high the page is, with this title and so many lines below the lanes.
    pub(crate) fn size(&self, title: &str, lines: usize) -> (f64, f64) {
        let last = self.x(self.chart.lanes.len().saturating_sub(1)) + 70.0;
        let title = title.chars().count() as f64 * LETTER * 1.5 + 32.0;
        (last.max(title).max(560.0), self.bottom + 56.0 + 20.0 * lines as f64)
    }

    /// Where the line of a lane is broken: at a note that says that its node was killed.
    pub(crate) fn killed(&self, lane: usize) -> Option<f64> {
        let is = |note: &(Micros, usize, String)| note.1 == lane && note.2.starts_with("kill");
        self.chart.notes.iter().position(is).map(|note| self.notes[note])
    }

    /// From where to where a band goes.
    pub(crate) fn stretch(&self, band: &Band) -> (f64, f64) {
        let at = |arrow: usize| {
            let (said, heard) = self.ends[arrow];
            if self.chart.arrows[arrow].from == band.lane { said } else { heard }
        };
        let killed = self.killed(band.lane).filter(|y| *y > at(band.begins)).unwrap_or(self.bottom);
        (at(band.begins), band.ends.map_or(killed, at))
    }

    /// The way beside its lane on which a band touches none of those before it.
    pub(crate) fn way(&self, bands: &[Band], place: usize, ways: &[usize]) -> usize {
        let (from, to) = self.stretch(&bands[place]);
        let beside = |other: &usize| {
            let (begins, ends) = self.stretch(&bands[*other]);
            bands[*other].lane == bands[place].lane && begins < to && from < ends
        };
        let taken: Vec<usize> = (0..place).filter(beside).map(|other| ways[other]).collect();
        (0..).find(|way| !taken.contains(way)).unwrap_or_default()
    }
}
