//# now it is the turn of another one
//@ src/share/choker.rs 2
/// Draws among all, also the one whose turn is over.
fn optimist<'a>(others: &[&'a Contender], occasion: Occasion, rng: &mut impl Rng) -> Option<&'a Contender> {
    let was = others.iter().find(|c| c.service == Service::Optimistic);
    if let Some(was) = was
        && occasion != Occasion::OptimisticRound
    {
        return Some(was);
    }
    (!others.is_empty()).then(|| others[rng.random_range(..others.len())])
}
