//! The thread that makes what the manager knows follow what there is.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};

use super::offer::Offer;
use super::{Known, Library};
use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::message::{PeerId, Refusal};
use crate::peer::manager_client::ManagerClient;
use crate::share::FileName;

/// How long the conversation with the manager is kept open when nothing is new: files come in rows.
const REST: Duration = Duration::from_secs(5);

/// The pause after a conversation with the manager that broke.
const PAUSE: Duration = Duration::from_millis(300);

/// One thing that the manager is to be told.
enum News {
    Has { offer: Arc<Offer>, whole: bool, published: Option<Millis> },
    Lost(FileName),
}

impl News {
    fn file(&self) -> &FileName {
        match self {
            Self::Has { offer, .. } => offer.name(),
            Self::Lost(file) => file,
        }
    }
}

impl Library {
    pub(super) fn publish(&self) {
        let mut manager = ManagerClient::new(self.network.manager());
        while let Some((number, news)) = self.next_news(&mut manager) {
            let Err(e) = self.tell(number, &news, &mut manager) else { continue };
            info!("cannot tell the manager of {} files: {e}", news.len());
            let mut known = self.known.lock();
            known.stale.extend(news.iter().map(News::file).cloned());
            if !known.over {
                self.changed.wait_for(&mut known, PAUSE);
            }
        }
    }

    /// Waits for news; `None` when this peer leaves. A conversation in which nothing is said ends meanwhile.
    fn next_news(&self, manager: &mut ManagerClient) -> Option<(PeerId, Vec<News>)> {
        let mut known = self.known.lock();
        loop {
            if known.over {
                return None;
            }
            if let Some(number) = self.network.number() {
                let news = known.news();
                if !news.is_empty() {
                    return Some((number, news));
                }
            }
            if !manager.is_open() {
                self.changed.wait(&mut known);
            } else if self.changed.wait_for(&mut known, REST).timed_out() {
                manager.close();
            }
        }
    }

    /// Tells the manager what is new.
    fn tell(&self, number: PeerId, news: &[News], manager: &mut ManagerClient) -> Result<()> {
        for one in news {
            let answered = match one {
                News::Has { offer, whole, published } => {
                    manager.update(number, offer.manifest(), *whole, *published)
                }
                News::Lost(file) => manager.query(number, file).map(drop),
            };
            let mut known = self.known.lock();
            if self.network.number() != Some(number) || known.over {
                return Ok(()); // It was told to a manager that has forgotten it.
            }
            let refused = known.told(one, answered)?;
            match refused {
                true => self.unsettle(known, one.file()),
                false => drop(self.changed.notify_all()),
            }
        }
        Ok(())
    }
}

impl Known {
    /// What the manager does not know, or knows otherwise.
    fn news(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for file in std::mem::take(&mut self.stale) {
            let Some(row) = self.rows.get(&file) else { continue };
            let Some(offer) = &row.offer else {
                // One that has a part stays listed: its pieces are still on the disk.
                news.extend(row.told.filter(|(_, whole)| *whole).map(|_| News::Lost(file)));
                continue;
            };
            let (id, whole) = (offer.id(), offer.is_whole());
            let refused = row.refused.as_ref().is_some_and(|(no, _)| *no == id);
            if row.told == Some((id, whole)) || refused || self.versions.dropped(&file, id).is_some() {
                continue;
            }
            if row.told.is_some_and(|(told, _)| told != id) {
                // A name stands for one content: first the old one is taken off.
                news.push(News::Lost(file.clone()));
            }
            let published = self.versions.published(&file, id);
            news.push(News::Has { offer: Arc::clone(offer), whole, published });
        }
        news
    }

    /// The manager has answered to a piece of news; true when it does not list a file that is whole here.
    fn told(&mut self, news: &News, answered: Result<()>) -> Result<bool> {
        match (news, answered) {
            (News::Has { offer, whole, .. }, Ok(())) => self.tell(offer.name(), Some((offer.id(), *whole))),
            (News::Has { offer, whole, .. }, Err(no)) if is_refusal(&no) => {
                warn!("{} is not offered to others: {no}", offer.name());
                self.row(offer.name()).refused = Some((offer.id(), Refusal::from(&no)));
                return Ok(*whole);
            }
            (News::Lost(file), Ok(())) => self.tell(file, None),
            (News::Lost(file), Err(no)) if no.code() == Code::NotFound => self.tell(file, None),
            (_, Err(no)) => return Err(no),
        }
        Ok(false)
    }
}

fn is_refusal(no: &Error) -> bool {
    matches!(no.code(), Code::Conflict | Code::Busy | Code::Expired)
}
