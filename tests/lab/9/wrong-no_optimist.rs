//# a newcomer would never get its first piece
//@ src/share/choker.rs 2
/// Who gives nothing gets nothing.
fn optimist<'a>(others: &[&'a Contender], occasion: Occasion, rng: &mut impl Rng) -> Option<&'a Contender> {
    let _ = (others, occasion, rng.random::<bool>());
    None
}
