//# You begin with the last digit
//@ src/matrix/strassen.rs 2
    /// The last digit is the outermost.
    pub(super) fn blocks(&self, i: usize, signs: fn(&Product) -> [i8; 4]) -> Vec<(f64, usize, usize)> {
        let mut blocks = vec![(1.0, 0, 0)];
        let mut rest = i;
        for _ in 0..self.levels {
            let signs = signs(&SEVEN[rest % 7]);
            rest /= 7;
            let mut next = Vec::new();
            for (sign, row, col) in blocks {
                for (q, s) in signs.into_iter().enumerate().filter(|(_, s)| *s != 0) {
                    next.push((sign * f64::from(s), 2 * row + q / 2, 2 * col + q % 2));
                }
            }
            blocks = next;
        }
        blocks
    }
