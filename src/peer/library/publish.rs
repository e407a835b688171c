//! The thread that makes what the manager knows follow what there is.

use std::time::Duration;

use log::{info, warn};

use super::offer::Offer;
use super::{Library, News, Shelf, Task};
use crate::error::{Code, Error, Result};
use crate::net::connection::Connection;
use crate::net::limits;
use crate::net::message::{FromManager, PeerId, Refusal, ToManager};
use crate::share::FileName;

/// How long the conversation with the manager is kept open when nothing is new: files come in rows.
const REST: Duration = Duration::from_secs(5);

/// The pause after a conversation with the manager that broke.
const PAUSE: Duration = Duration::from_millis(300);

impl Library {
    pub(super) fn publish(&self) {
        let mut connection = None;
        while let Some((number, news)) = self.next_news(&mut connection) {
            let Err(e) = self.tell(number, &news, &mut connection) else { continue };
            info!("cannot tell the manager of {} files: {e}", news.len());
            connection = None;
            let mut shelf = self.shelf.lock();
            shelf.stale.extend(news.iter().map(News::file).cloned());
            if !shelf.over {
                self.changed.wait_for(&mut shelf, PAUSE);
            }
        }
    }

    /// Waits for news; `None` when this peer leaves. A conversation in which nothing is said ends meanwhile.
    fn next_news(&self, connection: &mut Option<Connection>) -> Option<(PeerId, Vec<News>)> {
        let mut shelf = self.shelf.lock();
        loop {
            if shelf.over {
                return None;
            }
            if let Some(number) = self.network.number() {
                let news = shelf.news();
                if !news.is_empty() {
                    return Some((number, news));
                }
            }
            if connection.is_none() {
                self.changed.wait(&mut shelf);
            } else if self.changed.wait_for(&mut shelf, REST).timed_out() {
                *connection = None;
            }
        }
    }

    /// Tells the manager what is new.
    fn tell(&self, number: PeerId, news: &[News], connection: &mut Option<Connection>) -> Result<()> {
        let connection = match connection {
            Some(open) => open,
            None => connection.insert(Connection::connect(self.network.manager(), limits::MANAGER_LINE)?),
        };
        for one in news {
            let asked = match one {
                News::Has(offer, whole) => say_update(connection, number, offer, *whole),
                News::Lost(file) => connection.send(&ToManager::Query { peer: number, file: file.clone() }),
            };
            asked?;
            let refused = match connection.expect(limits::MESSAGE_TIME)? {
                FromManager::Updated { .. } => None,
                FromManager::Holders { payload, .. } => {
                    connection.discard_payload(payload.min(limits::HASHES))?;
                    None
                }
                FromManager::Error(no) => Some(no),
                other => return Err(Error::new(Code::BadMessage, format!("no answer to that: {other:?}"))),
            };
            let mut shelf = self.shelf.lock();
            if self.network.number() != Some(number) || shelf.over {
                return Ok(()); // It was told to a manager that has forgotten it.
            }
            shelf.told_to_manager(one, refused)?;
            self.changed.notify_all();
        }
        Ok(())
    }
}

impl Shelf {
    /// The manager has answered to a piece of news.
    fn told_to_manager(&mut self, news: &News, refused: Option<Refusal>) -> Result<()> {
        match (news, refused) {
            (News::Has(offer, whole), None) => self.tell(offer.name(), Some((offer.id(), *whole))),
            (News::Has(offer, whole), Some(no))
                if matches!(no.code, Code::Conflict | Code::Busy | Code::Expired) =>
            {
                let (file, id) = (offer.name().clone(), offer.id());
                warn!("{file} is not offered to others: {}", no.text);
                if let (Code::Conflict, true, Some(tasks)) = (no.code, *whole, &self.refusals) {
                    // Whoever listens lives as long as this peer.
                    let _ = tasks.send(Task::Refused { file: file.clone(), id });
                }
                self.refused.insert(file, (id, no));
            }
            (News::Lost(file), None) => self.tell(file, None),
            (News::Lost(file), Some(no)) if no.code == Code::NotFound => self.tell(file, None),
            (_, Some(no)) => return Err(no.into()),
        }
        Ok(())
    }
}

impl News {
    /// The file that it is about.
    fn file(&self) -> &FileName {
        match self {
            Self::Has(offer, _) => offer.name(),
            Self::Lost(file) => file,
        }
    }
}

fn say_update(connection: &Connection, peer: PeerId, offer: &Offer, whole: bool) -> Result<()> {
    let manifest = offer.manifest();
    let (layout, hashes) = (manifest.layout(), manifest.hashes());
    let payload = hashes.len() as u64;
    let (file, size, piece_size) = (manifest.name().clone(), layout.size(), layout.piece_size().into());
    let update =
        ToManager::Update { peer, file, size, piece_size, whole, published: offer.published(), payload };
    connection.send_with_payload(&update, |out| out.write_all(hashes))
}
