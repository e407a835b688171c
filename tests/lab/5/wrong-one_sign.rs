//# M2 is suspect
//@ src/matrix/strassen.rs 1
/// M2 is added to C22, not taken off.
#[rustfmt::skip]
pub const SEVEN: [Product; 7] = [
    Product { left: [ 1,  0,  0,  1], right: [ 1,  0,  0,  1], into: [ 1,  0,  0,  1] },
    Product { left: [ 0,  0,  1,  1], right: [ 1,  0,  0,  0], into: [ 0,  0,  1,  1] },
    Product { left: [ 1,  0,  0,  0], right: [ 0,  1,  0, -1], into: [ 0,  1,  0,  1] },
    Product { left: [ 0,  0,  0,  1], right: [-1,  0,  1,  0], into: [ 1,  0,  1,  0] },
    Product { left: [ 1,  1,  0,  0], right: [ 0,  0,  0,  1], into: [-1,  1,  0,  0] },
    Product { left: [-1,  0,  1,  0], right: [ 1,  1,  0,  0], into: [ 0,  0,  0,  1] },
    Product { left: [ 0,  1,  0, -1], right: [ 0,  0,  1,  1], into: [ 1,  0,  0,  0] },
];
