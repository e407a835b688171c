//# as much work as to multiply again
//@ src/matrix/freivalds/probe.rs
/// For each row all rows are multiplied by x.
impl<N: Numbers> Probe for ProbeOf<'_, N> {
    fn left(&mut self, rows: &[f64]) {
        let (_, depth, _) = self.shared.plan.block();
        self.left.pass(rows, depth, depth, &self.right, self.threads);
    }

    fn check(&mut self, rows: &[f64]) -> Verdict {
        let (_, _, cols) = self.shared.plan.block();
        assert!(self.left.passed == self.left.sums.len(), "all of L has passed");
        let count = rows.len() / cols;
        let (first, tolerance) = (self.judged, N::tolerance(self));
        self.judged += count;
        for row in 0..count {
            let mut got = Times::<N>::new(count);
            got.pass(rows, cols, cols, &self.shared.x, self.threads);
            if !(N::distance(self.left.sums[first + row], got.sums[row]) <= tolerance) {
                return Verdict::Wrong { row: first + row };
            }
        }
        Verdict::Right
    }
}
