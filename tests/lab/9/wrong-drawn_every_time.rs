//# so that it has the time to show what it gives
//@ src/share/choker.rs 2
/// Each time another.
fn optimist<'a>(others: &[&'a Contender], occasion: Occasion, rng: &mut impl Rng) -> Option<&'a Contender> {
    let _ = occasion;
    (!others.is_empty()).then(|| others[rng.random_range(..others.len())])
}
