//# A quadrant whose sign is 0 has no part
//@ src/matrix/strassen.rs 2
    /// All quadrants, also those without a part.
    pub(super) fn blocks(&self, i: usize, signs: fn(&Product) -> [i8; 4]) -> Vec<(f64, usize, usize)> {
        let mut blocks = vec![(1.0, 0, 0)];
        for level in (0..self.levels).rev() {
            let signs = signs(&SEVEN[i / 7usize.pow(level) % 7]);
            let mut next = Vec::new();
            for (sign, row, col) in blocks {
                for (q, s) in signs.into_iter().enumerate() {
                    next.push((sign * f64::from(s), 2 * row + q / 2, 2 * col + q % 2));
                }
            }
            blocks = next;
        }
        blocks
    }
