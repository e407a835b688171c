//# also when one is wrong
//@ src/matrix/freivalds/probe.rs
/// It counts no further than to the first wrong row.
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
        let tolerance = N::tolerance(self);
        for sum in got.sums {
            let row = self.judged;
            if !(N::distance(sum, self.left.sums[row]) <= tolerance) {
                return Verdict::Wrong { row };
            }
            self.judged += 1;
        }
        Verdict::Right
    }
}
