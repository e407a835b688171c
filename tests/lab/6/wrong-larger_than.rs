//# Every comparison with NaN is false
//@ src/matrix/freivalds/probe.rs
/// What is not larger is right, also NaN.
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
        let (first, tolerance) = (self.judged, N::tolerance(self));
        self.judged += got.sums.len();
        for (row, sum) in got.sums.iter().enumerate() {
            if N::distance(self.left.sums[first + row], *sum) > tolerance {
                return Verdict::Wrong { row: first + row };
            }
        }
        Verdict::Right
    }
}
