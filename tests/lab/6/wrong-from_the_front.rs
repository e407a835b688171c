//# Its rows are not the first ones of P
//@ src/matrix/freivalds/probe.rs
/// Every portion is compared with the first rows.
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
        let agrees = |(one, other): (&N::Sum, &N::Sum)| N::distance(*one, *other) <= tolerance;
        match self.left.sums.iter().zip(&got.sums).position(|pair| !agrees(pair)) {
            Some(row) => Verdict::Wrong { row },
            None => Verdict::Right,
        }
    }
}
