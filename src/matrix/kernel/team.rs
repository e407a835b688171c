//! Threads that multiply together: they share the packed panel of B.
//!
//! Each member of a team has rows of A and of C of its own, but all need the same panel of B. Packing it
//! once and together, instead of once each, matters because packing waits for memory and the cores share
//! the memory. Before every panel the members do this:
//!
//! ```text
//!     pack my columns of the panel;  meet;  multiply my rows by the whole panel
//! ```
//!
//! There are two panels, used in turn. A member that comes back early packs into the one that nobody reads:
//! it passed the last meeting, so everybody had finished with the panel before the last. One meeting for
//! each panel is therefore enough.
//!
//! All members walk through the same panels in the same order, whatever rows they have; otherwise they
//! would wait for each other for ever.

use parking_lot::{Condvar, Mutex, RwLock};

use super::Abandoned;

/// A number of threads, and what they share.
#[derive(Debug)]
pub(in crate::matrix) struct Team {
    size: usize,
    /// The two panels, each in as many parts as there are members. A member alone needs one.
    panels: Vec<Vec<RwLock<Vec<f64>>>>,
    meeting: Mutex<Meeting>,
    /// Signalled when a round is complete or the team stops.
    all_here: Condvar,
}

#[derive(Debug, Default)]
struct Meeting {
    /// Members that wait for the round to be complete.
    arrived: usize,
    /// Rounds that were complete.
    round: u64,
    /// A member gave up; nobody is to wait for it.
    stopped: bool,
}

impl Team {
    /// A team of `size` threads, at least one.
    pub(in crate::matrix) fn new(size: usize) -> Self {
        let part = || RwLock::new(Vec::new());
        let panels = (0..size.clamp(1, 2)).map(|_| (0..size.max(1)).map(|_| part()).collect()).collect();
        Self { size: size.max(1), panels, meeting: Mutex::default(), all_here: Condvar::new() }
    }

    /// How many threads it has.
    pub(in crate::matrix) fn size(&self) -> usize {
        self.size
    }

    /// The place of one thread in the team, from 0 on.
    pub(in crate::matrix) fn member(&self, number: usize) -> Member<'_> {
        Member { team: self, number, round: 0, left: Vec::new(), dealt: Vec::new() }
    }

    /// Waits until all members are here, or one has given up.
    ///
    /// No wake-up is lost: `round` and `stopped` are tested and changed under the one lock, whoever changes
    /// them notifies afterwards, and a member releases the lock only by waiting.
    fn meet(&self) -> Result<(), Abandoned> {
        let mut meeting = self.meeting.lock();
        meeting.arrived += 1;
        if meeting.arrived == self.size {
            meeting.arrived = 0;
            meeting.round += 1;
            self.all_here.notify_all();
            return Ok(());
        }
        let round = meeting.round;
        while meeting.round == round && !meeting.stopped {
            self.all_here.wait(&mut meeting);
        }
        if meeting.round == round { Err(Abandoned) } else { Ok(()) }
    }
}

/// One thread of a team, with the memory that only it uses.
#[derive(Debug)]
pub(in crate::matrix) struct Member<'t> {
    team: &'t Team,
    pub(super) number: usize,
    /// How many panels it has packed its part of.
    round: usize,
    /// Its packed block of A.
    pub(super) left: Vec<f64>,
    /// Its rows of B on their way into the panel.
    pub(super) dealt: Vec<f64>,
}

impl<'t> Member<'t> {
    /// How many members the team has.
    pub(super) fn team_size(&self) -> usize {
        self.team.size
    }

    /// The parts of the panel that is packed next, of which this member packs the one with its number.
    pub(super) fn next_panel(&mut self) -> &'t [RwLock<Vec<f64>>] {
        self.round += 1;
        &self.team.panels[self.round % self.team.panels.len()]
    }

    /// Waits until all parts of the panel are packed. An error if another member has given up.
    pub(super) fn meet(&self) -> Result<(), Abandoned> {
        self.team.meet()
    }
}

/// A member that leaves, because it has finished, given up or panicked, keeps nobody waiting. (When it has
/// finished, so has everybody's last meeting.)
impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.team.meeting.lock().stopped = true;
        self.team.all_here.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[test]
    fn nobody_passes_a_meeting_before_all_have_come() {
        let (team, arrived) = (Team::new(3), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for number in 0..3 {
                let (team, arrived) = (&team, &arrived);
                scope.spawn(move || {
                    let member = team.member(number);
                    for round in 1..=1000 {
                        arrived.fetch_add(1, SeqCst);
                        member.meet().unwrap();
                        assert!(arrived.load(SeqCst) >= 3 * round);
                    }
                });
            }
        });
        assert_eq!(arrived.into_inner(), 3000);
    }

    #[test]
    fn a_member_that_gives_up_keeps_nobody_waiting() {
        let team = Team::new(2);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| team.member(0).meet());
            drop(team.member(1));
            assert_eq!(waiting.join().unwrap(), Err(Abandoned));
        });
    }
}
