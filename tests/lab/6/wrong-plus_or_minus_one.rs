//# P is wrong by +3 in two entries of a row
//@ src/matrix/freivalds/reals.rs
    /// A coin for the sign.
    fn draw(scale: f64, rng: &mut impl Rng) -> f64 {
        if rng.random() { scale / 2.0 } else { -scale / 2.0 }
    }
