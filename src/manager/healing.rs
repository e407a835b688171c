//! The thread that sends the orders for copies, and what the table does with files and drops.
//!
//! What is ordered is thought out by the [`replicator`](super::replicator). Here it is carried out: the thread
//! `replicate_loop` sleeps until a file or a peer has changed, or an order's time has come, plans under the table's lock,
//! and *posts* the orders into the memory of each peer's outbox; they are flushed to the sockets after the lock is let go.
//! Whatever happens while it plans is planned at once after it: a condition is tested under the lock before the thread
//! sleeps, as in [`queue`](super::queue).

use super::events::What;
use super::queue::{Desk, Table};
use crate::clock::Millis;
use crate::error::Result;
use crate::net::message::encode;
use crate::net::message::{FileState, FromManager, PeerId};
use crate::share::{FileId, FileName, Manifest};

/// Plans after every change and sends what follows, until the manager stops.
pub(super) fn replicate_loop(desk: &Desk) {
    let mut next = None;
    while desk.wait_for_plan(next) {
        next = desk.change(Table::replicate);
    }
}

impl Table {
    /// Orders the copies that are missing; says when to look again if nothing changes before that.
    fn replicate(&mut self, now: Millis) -> Option<Millis> {
        let plan = self.replicator.plan(&mut self.catalogue, &self.roster, now);
        for order in plan.in_vain {
            let who = self.roster.name(order.peer);
            self.events.tell_of(now, who, What::InVain, &order.file, order.size);
        }
        for order in plan.orders {
            let who = self.roster.name(order.peer);
            self.events.tell_of(now, who, What::Asked, &order.file, order.size);
            self.post(order.peer, &FromManager::Fetch { file: order.file });
        }
        plan.next
    }

    /// A file is to be removed everywhere, or was; everybody is told.
    ///
    /// # Errors
    /// `not_found` when nobody said which bytes, and the name stands for nothing.
    pub(super) fn drop_file(
        &mut self,
        file: &FileName,
        id: Option<FileId>,
        at: Option<Millis>,
        now: Millis,
    ) -> Result<()> {
        let dropped = self.catalogue.drop_file(file, id, at, now)?;
        if dropped.listed || dropped.news {
            self.events.tell_of(now, String::new(), What::Dropped, file, 0);
        }
        if dropped.news
            && let Ok(line) = encode(&drop_message(file, dropped.id, dropped.at))
        {
            for listener in self.lines.values() {
                listener.post_line(&line);
                self.posted.push(listener.clone());
            }
        }
        Ok(())
    }

    /// A peer offers what was dropped: it is told so, however often it offers it.
    pub(super) fn tell_of_drop(&mut self, peer: PeerId, manifest: &Manifest, now: Millis) {
        let (file, id) = (manifest.name(), manifest.id());
        let Some(at) = self.catalogue.when_dropped(file, id) else { return };
        let who = self.roster.name(peer);
        self.events.tell_of(now, who, What::Refused, file, manifest.layout().size());
        self.post(peer, &drop_message(file, id, at));
    }

    /// All files in order of their names, with their health.
    pub(super) fn files_with_health(&self, now: Millis) -> impl Iterator<Item = FileState> {
        self.catalogue.entries().map(move |(number, entry)| {
            let health = self.replicator.health(number, entry, &self.roster, now);
            FileState { health: Some(health), ..entry.state(&self.roster) }
        })
    }
}

fn drop_message(file: &FileName, id: FileId, at: Millis) -> FromManager {
    FromManager::Drop { file: file.clone(), id: Some(id), at: Some(at) }
}
