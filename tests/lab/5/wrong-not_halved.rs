//# Each level halves the block
//@ src/matrix/strassen.rs 2
    /// A level goes on by one block, in place of halving.
    pub(super) fn blocks(&self, i: usize, signs: fn(&Product) -> [i8; 4]) -> Vec<(f64, usize, usize)> {
        let mut blocks = vec![(1.0, 0, 0)];
        for level in (0..self.levels).rev() {
            let signs = signs(&SEVEN[i / 7usize.pow(level) % 7]);
            let mut next = Vec::new();
            for (sign, row, col) in blocks {
                for (q, s) in signs.into_iter().enumerate().filter(|(_, s)| *s != 0) {
                    next.push((sign * f64::from(s), row + q / 2, col + q % 2));
                }
            }
            blocks = next;
        }
        blocks
    }
