//# its left operand is A21 + A22
//@ src/matrix/strassen.rs 1
/// What is summed of A stands at the right.
#[rustfmt::skip]
pub const SEVEN: [Product; 7] = [
    Product { right: [ 1,  0,  0,  1], left: [ 1,  0,  0,  1], into: [ 1,  0,  0,  1] },
    Product { right: [ 0,  0,  1,  1], left: [ 1,  0,  0,  0], into: [ 0,  0,  1, -1] },
    Product { right: [ 1,  0,  0,  0], left: [ 0,  1,  0, -1], into: [ 0,  1,  0,  1] },
    Product { right: [ 0,  0,  0,  1], left: [-1,  0,  1,  0], into: [ 1,  0,  1,  0] },
    Product { right: [ 1,  1,  0,  0], left: [ 0,  0,  0,  1], into: [-1,  1,  0,  0] },
    Product { right: [-1,  0,  1,  0], left: [ 1,  1,  0,  0], into: [ 0,  0,  0,  1] },
    Product { right: [ 0,  1,  0, -1], left: [ 0,  0,  1,  1], into: [ 1,  0,  0,  0] },
];
