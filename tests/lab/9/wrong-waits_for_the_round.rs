//# to wait until the next round would leave the link idle
//@ src/share/choker.rs 1
/// At a change nobody loses a place, and nobody gets one.
pub fn judge(
    contenders: &[Contender],
    unchoke: usize,
    seeding: bool,
    occasion: Occasion,
    rng: &mut impl Rng,
) -> Vec<(u64, Service)> {
    let wants = contenders.iter().filter(|c| c.interested);
    if occasion == Occasion::Change {
        return wants.filter(|c| c.service != Service::Choked).map(|c| (c.peer, c.service)).collect();
    }
    let mut ranking: Vec<_> = wants.collect();
    ranking.sort_by_cached_key(|c| {
        let rate = if seeding { c.sent } else { c.received };
        Reverse((rate, c.service != Service::Choked, rng.random::<u64>()))
    });
    let others = ranking.split_off(unchoke.min(ranking.len()));
    let mut served: Vec<_> = ranking.iter().map(|c| (c.peer, Service::Regular)).collect();
    served.extend(optimist(&others, occasion, rng).map(|c| (c.peer, Service::Optimistic)));
    served
}
