//@ src/matrix/strassen.rs 1
/// Exercise 5, first part: Strassen's seven products, M1 to M7.
///
/// Each line is one product. `left` has the signs with which the quadrants of A are summed, in the order A11, A12, A21,
/// A22; `right` has those of B. `into` has the signs with which the answer is added to C11, C12, C21, C22. A sign is 1,
/// -1, or 0 where the quadrant has no part. These are the formulas; the first line of the table is M1, and is right:
///
/// ```text
///     M1 = (A11 + A22) (B11 + B22)        C11 = M1 + M4 - M5 + M7
///     M2 = (A21 + A22)  B11               C12 = M3 + M5
///     M3 =  A11        (B12 - B22)        C21 = M2 + M4
///     M4 =  A22        (B21 - B11)        C22 = M1 - M2 + M3 + M6
///     M5 = (A11 + A12)  B22
///     M6 = (A21 - A11) (B11 + B12)
///     M7 = (A12 - A22) (B21 + B22)
/// ```
#[rustfmt::skip]
pub const SEVEN: [Product; 7] = [
    //        A11 A12 A21 A22           B11 B12 B21 B22          C11 C12 C21 C22
    Product { left: [ 1,  0,  0,  1], right: [ 1,  0,  0,  1], into: [ 1,  0,  0,  1] },
    Product { left: [ 0,  0,  0,  0], right: [ 0,  0,  0,  0], into: [ 0,  0,  0,  0] },
    Product { left: [ 0,  0,  0,  0], right: [ 0,  0,  0,  0], into: [ 0,  0,  0,  0] },
    Product { left: [ 0,  0,  0,  0], right: [ 0,  0,  0,  0], into: [ 0,  0,  0,  0] },
    Product { left: [ 0,  0,  0,  0], right: [ 0,  0,  0,  0], into: [ 0,  0,  0,  0] },
    Product { left: [ 0,  0,  0,  0], right: [ 0,  0,  0,  0], into: [ 0,  0,  0,  0] },
    Product { left: [ 0,  0,  0,  0], right: [ 0,  0,  0,  0], into: [ 0,  0,  0,  0] },
];
//@ src/matrix/strassen.rs 2
    /// Exercise 5, second part: the blocks that take part in product `i` of 7^levels, on one side.
    ///
    /// Each level cuts every block of the level before it into quadrants, and makes seven products of each product. So
    /// a matrix is a grid of 2^levels x 2^levels blocks, and the name of a product is a number of `levels` digits in
    /// base 7: digit 0 is M1, digit 6 is M7, and the most significant digit is the outermost level.
    /// `signs(&SEVEN[digit])` gives the signs of that level, in the order 11, 12, 21, 22.
    ///
    /// Return a triple (sign, block row, block column) for each block that takes part, rows and columns counted from 0:
    ///
    /// - With no level there is one block, the whole matrix: `(1.0, 0, 0)`.
    /// - From each block (row, col), a level goes on to those of its quadrants whose sign is not 0. Quadrant 11 is at
    ///   (2 row, 2 col), and 12 is to the right of it.
    /// - The sign of a block is the product of its signs at all levels.
    ///
    /// An example with two levels: product 9 is 12 in base 7, so M2 outside and M3 inside. The left side of M2 is A21 +
    /// A22. That of M3 is A11, so it takes the first quadrant of each: (1.0, 2, 0) and (1.0, 2, 2).
    pub(super) fn blocks(&self, i: usize, signs: fn(&Product) -> [i8; 4]) -> Vec<(f64, usize, usize)> {
        assert!(i < self.products(), "product {i} of {}", self.products());
        let _ = signs;
        todo!("Plan::blocks is still empty")
    }
