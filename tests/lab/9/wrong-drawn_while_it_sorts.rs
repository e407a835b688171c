//# `sort_by_cached_key` asks once for each
//@ src/share/choker.rs 1
/// What is drawn changes while it sorts.
pub fn judge(
    contenders: &[Contender],
    unchoke: usize,
    seeding: bool,
    occasion: Occasion,
    rng: &mut impl Rng,
) -> Vec<(u64, Service)> {
    let mut ranking: Vec<_> = contenders.iter().filter(|c| c.interested).collect();
    ranking.sort_by_key(|c| {
        let stays = occasion == Occasion::Change && c.service == Service::Regular;
        let rate = if seeding { c.sent } else { c.received };
        Reverse((stays, rate, c.service != Service::Choked, rng.random::<u64>()))
    });
    let others = ranking.split_off(unchoke.min(ranking.len()));
    let mut served: Vec<_> = ranking.iter().map(|c| (c.peer, Service::Regular)).collect();
    served.extend(optimist(&others, occasion, rng).map(|c| (c.peer, Service::Optimistic)));
    served
}
