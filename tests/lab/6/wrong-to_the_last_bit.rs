//# differ by rounding only
//@ src/matrix/freivalds/probe.rs
/// The two sides must be equal.
impl<N: Numbers> Probe for ProbeOf<'_, N> {
    fn left(&mut self, rows: &[f64]) {
        let (_, depth, _) = self.shared.plan.block();
        self.left.pass(rows, depth, depth, &self.right, self.threads);
    }

    fn check(&mut self, rows: &[f64]) -> Verdict {
        let (_, _, cols) = self.shared.plan.block();
        assert!(self.left.passed == self.left.sums.len(), "all of L has passed");
        let mut got = Times::<N>::new(rows.len() / cols);
        got.pass(rows, cols, cols, &self.shared.x, self.threads);
        for (row, sum) in got.sums.iter().enumerate() {
            if N::distance(self.left.sums[self.judged + row], *sum) != 0.0 {
                return Verdict::Wrong { row: self.judged + row };
            }
        }
        self.judged += got.sums.len();
        Verdict::Right
    }
}
