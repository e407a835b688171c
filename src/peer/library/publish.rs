//! The thread that makes what the manager knows follow what there is.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};

use super::offer::Offer;
use super::{Known, Library};
use crate::clock::{Clock, Millis};
use crate::error::{Code, Result};
use crate::net::message::{Credentials, Refusal};
use crate::peer::manager_client::ManagerClient;
use crate::share::FileName;

/// The pause after a conversation with the manager that broke.
const PAUSE: Duration = Duration::from_millis(300);

/// How long after it was refused as `busy` a file is told again, and how long after another one at least, in
/// milliseconds: where the manager is full, a hundred a second are told again, and not all at once.
const BUSY: Millis = 60_000;
const BUSY_STEP: Millis = 10;

/// One thing that the manager is to be told.
pub(in crate::peer) struct News {
    pub(in crate::peer) file: FileName,
    /// What is offered under this name; nothing, or nothing of what was told.
    pub(in crate::peer) offer: Option<Arc<Offer>>,
    pub(in crate::peer) whole: bool,
    pub(in crate::peer) published: Option<Millis>,
    /// When it is told.
    at: Millis,
}

impl Library {
    /// Tells the manager what is new until the peer leaves.
    pub(crate) fn publish(&self) {
        let (mut manager, clock) = (ManagerClient::new(&self.network.config), Clock::start());
        while let Some((who, news)) = self.next_news(&clock) {
            let answered = match &news.offer {
                Some(offer) => manager.update(&who, &offer.manifest, news.whole, news.published),
                None => manager.lost(&who, &news.file).map(drop),
            };
            if self.answered(&who, news, answered).is_err() {
                let mut known = self.known.lock();
                self.changed.wait_while_for(&mut known, |known| !known.over, PAUSE);
            }
        }
    }

    /// What the manager does not know yet, if this peer is registered.
    pub(super) fn next(&self, known: &mut Known, now: Millis) -> Option<(Credentials, News)> {
        self.network.number()?;
        known.next_news(now).map(|news| (self.network.credentials(), news))
    }

    /// The manager has answered to a piece of news. A file that is whole here, and that it does not list, is unsettled.
    ///
    /// # Errors
    /// When it has not: it is to be told again.
    pub(in crate::peer) fn answered(
        &self,
        who: &Credentials,
        News { file, offer, whole, at, .. }: News,
        answered: Result<()>,
    ) -> Result<()> {
        let known = &mut *self.known.lock();
        if self.network.number() != Some(who.peer) {
            return Ok(()); // It was told to a manager that has forgotten it.
        }
        match (offer, answered) {
            (Some(offer), Ok(())) => {
                known.tell(&file, Some((offer.id(), whole)));
                // It may be offered no more, and even forgotten, since it was sent.
                if !known.row(&file).offer.as_ref().is_some_and(|now| Arc::ptr_eq(now, &offer)) {
                    known.stale.insert(file);
                }
            }
            (Some(offer), Err(no)) if matches!(no.code(), Code::Conflict | Code::Busy | Code::Expired) => {
                let last = known.busy.back().map_or(0, |(last, _)| *last);
                let busy = (no.code() == Code::Busy).then_some((at + BUSY).max(last + BUSY_STEP));
                known.busy.extend(busy.map(|again| (again, file.clone())));
                let refused = (offer.id(), Refusal::from(&no), busy.unwrap_or(Millis::MAX));
                let before = known.row(&file).refused.replace(refused);
                // Each minute the same is no news.
                if before.is_none_or(|(id, why, _)| (id, why.code) != (offer.id(), no.code())) {
                    warn!("{file} is not offered to others: {no}");
                    known.unsettled.extend(whole.then_some(file));
                }
            }
            (None, Ok(())) => known.tell(&file, None),
            (None, Err(no)) if no.code() == Code::NotFound => known.tell(&file, None),
            (_, Err(no)) => {
                info!("cannot tell the manager of {file}: {no}");
                known.stale.insert(file);
                return Err(no);
            }
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Waits for news; `None` when this peer leaves.
    fn next_news(&self, clock: &Clock) -> Option<(Credentials, News)> {
        let mut known = self.known.lock();
        while !known.over {
            if let Some(news) = self.next(&mut known, clock.now()) {
                return Some(news);
            }
            let next = known.busy.front().map(|(again, _)| again.saturating_sub(clock.now()).max(BUSY_STEP));
            self.changed.wait_for(&mut known, Duration::from_millis(next.unwrap_or(BUSY)));
        }
        None
    }
}

impl Known {
    /// The next thing that the manager does not know, or knows otherwise.
    fn next_news(&mut self, at: Millis) -> Option<News> {
        while let Some((_, file)) = self.busy.pop_front_if(|(again, _)| at >= *again) {
            self.stale.insert(file);
        }
        while let Some(file) = self.stale.pop_first() {
            let Some(row) = self.rows.get(&file) else { continue };
            let Some(offer) = &row.offer else {
                // One that has a part stays listed: its pieces are still on the disk.
                if row.told.is_some_and(|(_, whole)| whole) {
                    return Some(News { file, offer: None, whole: false, published: None, at });
                }
                self.tidy(&file);
                continue;
            };
            let (id, whole) = (offer.id(), offer.is_whole());
            let refused = row.refused.as_ref().is_some_and(|(no, _, again)| *no == id && at < *again);
            if row.told == Some((id, whole)) || refused || self.versions.dropped(&file, id).is_some() {
                continue;
            }
            if row.told.is_some_and(|(told, _)| told != id) {
                // A name stands for one content: first the old one is taken off.
                self.stale.insert(file.clone());
                return Some(News { file, offer: None, whole: false, published: None, at });
            }
            let (offer, published) = (Some(Arc::clone(offer)), self.versions.published(&file, id));
            return Some(News { file, offer, whole, published, at });
        }
        None
    }
}
