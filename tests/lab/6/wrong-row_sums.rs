//# All entries of your x are equal
//@ src/matrix/freivalds/reals.rs
    /// The sums of the rows must agree.
    fn draw(scale: f64, _: &mut impl Rng) -> f64 {
        scale / 2.0
    }
