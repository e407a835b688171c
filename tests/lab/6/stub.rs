//@ src/matrix/freivalds/reals.rs
    /// Exercise 6, first part: an entry of the random vector x.
    ///
    /// Wrong products are to be found, whatever is wrong with them. So draw each entry from `rng` such that
    ///
    /// - a single wrong entry of P cannot hide: its row of P·x moves by x_j times the error, so no x_j may be near
    ///   zero;
    /// - two errors in one row do not cancel, neither equal ones nor opposite ones, but by a rare accident: so no
    ///   single value of an entry is likely;
    /// - plus and minus are equally likely.
    ///
    /// Its magnitude is at least half of `scale`, and below `scale`. `rng.random::<f64>()` is drawn evenly from [0, 1),
    /// `rng.random::<bool>()` is an even coin.
    fn draw(scale: f64, rng: &mut impl Rng) -> f64 {
        let _ = (scale, rng.random::<bool>());
        todo!("Reals::draw is still empty")
    }
//@ src/matrix/freivalds/probe.rs
/// Exercise 6, second part: is P the product of L and R? Compare P·x with L·(R·x), row by row.
///
/// R·x is there already: `self.right`. Both methods multiply rows by a vector, and `Times` does that:
/// `times.pass(rows, cols, cols, &vector, self.threads)` multiplies the next rows, of `cols` entries each, and writes a
/// sum for each of them into `times.sums`, behind those of the rows that have passed before.
impl<N: Numbers> Probe for ProbeOf<'_, N> {
    /// The next rows of L, of `depth` entries each: L·(R·x) goes into `self.left`.
    fn left(&mut self, rows: &[f64]) {
        let (_, depth, _) = self.shared.plan.block();
        let _ = (rows, depth);
        todo!("ProbeOf::left is still empty")
    }

    /// The next rows of P, of `cols` entries each: are they right? Keep these rules:
    ///
    /// - Multiply them by x, which is `self.shared.x`, into `got`. Look at each number once: what is slower than that
    ///   costs as much as to multiply again.
    /// - An answer comes in portions. `self.judged` rows were judged in earlier calls, so what these rows should give
    ///   begins at `self.left.sums[self.judged]`. Count on, also where a row is wrong.
    /// - Rounding moves a right product a little: two sums agree when `N::distance(one, other)` is not larger than
    ///   `N::tolerance(self)`. What is not a number agrees with nothing.
    /// - `Verdict::Wrong` names the first wrong row, counted from the first row of P.
    fn check(&mut self, rows: &[f64]) -> Verdict {
        let (_, _, cols) = self.shared.plan.block();
        assert!(self.left.passed == self.left.sums.len(), "all of L has passed");
        let got = Times::<N>::new(rows.len() / cols);
        let _ = (got, N::tolerance(self), self.judged);
        todo!("ProbeOf::check is still empty")
    }
}
