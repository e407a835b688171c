//@ src/share/choker.rs 1
/// Exercise 9, first part: the peers to serve from now on, and how; one that is not named is choked.
///
/// `seeding` says that the file is whole here, `unchoke` how many are served for their rates. Keep these rules:
///
/// - Only a peer that is interested takes a place.
/// - The best `unchoke` of them by rate are [`Service::Regular`]. The rate is what the peer gives us (`received`); a
///   seeder needs nothing, and ranks by what it sends.
/// - Between equals, one that is served now, for its rate or as the optimist, stays: every choke voids requests. Among
///   those that are still equal, draw at random. (A sort may ask for its key many times: is it the same each time?)
/// - On [`Occasion::Change`] a peer with a regular place keeps it, however good the others are, and free places are
///   filled at once with the best of all others, the optimist too. On the two other occasions all are ranked again.
/// - [`optimist`] chooses one of those that are left; it is [`Service::Optimistic`].
///
/// ```
/// use peerlab::share::choker::{Contender, Occasion, Service, judge};
/// let peer = |peer, received| {
///     Contender { peer, interested: true, service: Service::Choked, received, sent: 0 }
/// };
/// let mut rng = rand::rng();
/// let served = judge(&[peer(1, 10), peer(2, 30), peer(3, 20)], 2, false, Occasion::Round, &mut rng);
/// assert_eq!(served, [(2, Service::Regular), (3, Service::Regular), (1, Service::Optimistic)]);
/// ```
pub fn judge(
    contenders: &[Contender],
    unchoke: usize,
    seeding: bool,
    occasion: Occasion,
    rng: &mut impl Rng,
) -> Vec<(u64, Service)> {
    let _ = (contenders, unchoke, seeding, occasion, Reverse(rng.random::<u64>()));
    todo!("judge is still empty")
}
//@ src/share/choker.rs 2
/// Exercise 9, second part: which of the others is served at random, whatever its rate; `None` where there are none.
///
/// - Who is [`Service::Optimistic`] now stays, until it is the turn of another one, so that it can show what it gives.
/// - On [`Occasion::OptimisticRound`] it is the turn of another one, if there is another.
/// - Each of those that may be drawn is equally likely: `rng.random_range(..n)` draws a number from 0 to n - 1.
fn optimist<'a>(others: &[&'a Contender], occasion: Occasion, rng: &mut impl Rng) -> Option<&'a Contender> {
    let _ = (others, occasion, rng.random_range(..1_usize));
    todo!("optimist is still empty")
}
