//# entries of x are smaller than 1/2
//@ src/matrix/freivalds/reals.rs
    /// Evenly from -scale to scale.
    fn draw(scale: f64, rng: &mut impl Rng) -> f64 {
        scale * (2.0 * rng.random::<f64>() - 1.0)
    }
