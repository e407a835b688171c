//! Exercise 5: the table of the seven products, and the products of several levels.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::lab_runner::run;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (2, "each of the seven multiplies what its formula says", operands),
            (2, "what they add up to is the product, in each quadrant of C", quadrants),
            (1, "level 0 is the whole matrix, level 1 is the table", first_levels),
            (3, "two levels and three: the digits of i in base 7, from the outermost level inwards", digits),
            (2, "products of any shape and 0 to 3 levels are those of the definition", products),
        ],
    );
}

const QUADRANTS: [&str; 4] = ["11", "12", "21", "22"];

/// What the seven multiply, as in Strassen's paper.
const PAPER: [[&str; 2]; 7] = [
    ["A11 + A22", "B11 + B22"],
    ["A21 + A22", "B11"],
    ["A11", "B12 - B22"],
    ["A22", "B21 - B11"],
    ["A11 + A12", "B22"],
    ["A21 - A11", "B11 + B12"],
    ["A12 - A22", "B21 + B22"],
];

/// What a formula comes to, where each quadrant is one number.
fn value(formula: &str, quadrants: [i32; 4]) -> i32 {
    let mut sign = 1;
    let mut sum = 0;
    for word in formula.split(' ') {
        match QUADRANTS.iter().position(|quadrant| word.ends_with(quadrant)) {
            Some(at) => sum += sign * quadrants[at],
            None => sign = if word == "-" { -1 } else { 1 },
        }
    }
    sum
}

fn operands(seed: u64) {
    // No two sums of these with signs are equal.
    let mut numbers = [1, 3, 9, 27];
    numbers.shuffle(&mut StdRng::seed_from_u64(seed));
    for (i, formulas) in PAPER.iter().enumerate() {
        let [left, right] = formulas;
        for (of, side, formula, signs) in
            [("A", "left", left, SEVEN[i].left), ("B", "right", right, SEVEN[i].right)]
        {
            let sum: i32 = signs.iter().zip(numbers).map(|(sign, number)| i32::from(*sign) * number).sum();
            assert!(
                sum == value(formula, numbers),
                "M{} = ({left}) ({right}): its {side} operand is {formula}. Where {of}11, {of}12, {of}21, {of}22 are \
                 {numbers:?} that is {}, and by your line of SEVEN it is {sum}",
                i + 1,
                value(formula, numbers),
            );
        }
    }
}

/// How often the product of A's quadrant `p` and B's quadrant `q` comes into C's quadrant `r`.
fn comes(seven: &[Product; 7], p: usize, q: usize, r: usize) -> i32 {
    seven.iter().map(|m| i32::from(m.left[p]) * i32::from(m.right[q]) * i32::from(m.into[r])).sum()
}

/// How often it should, by the definition of the product.
fn should_come(p: usize, q: usize, r: usize) -> i32 {
    i32::from(p % 2 == q / 2 && r == 2 * (p / 2) + q % 2)
}

fn is_right(seven: &[Product; 7]) -> bool {
    (0..64).all(|x| comes(seven, x / 16, x / 4 % 4, x % 4) == should_come(x / 16, x / 4 % 4, x % 4))
}

/// The product in whose line one other entry would make all of the table right.
fn suspect() -> Option<usize> {
    (0..7).find(|&i| {
        (0..12).any(|at| {
            [-1, 0, 1].into_iter().any(|entry| {
                let mut changed = SEVEN;
                let Product { left, right, into } = &mut changed[i];
                [left, right, into][at / 4][at % 4] = entry;
                is_right(&changed)
            })
        })
    })
}

fn quadrants(_: u64) {
    for x in 0..64 {
        let (r, p, q) = (x / 16, x / 4 % 4, x % 4);
        let (comes, should_come) = (comes(&SEVEN, p, q, r), should_come(p, q, r));
        if comes == should_come {
            continue;
        }
        let seen = |m: &Product| m.left[p] != 0 && m.right[q] != 0 && m.into[r] != 0;
        let names: Vec<String> =
            (1..).zip(&SEVEN).filter(|(_, m)| seen(m)).map(|(i, _)| format!("M{i}")).collect();
        let from = if names.is_empty() { "nothing".into() } else { names.join(" and ") };
        let suspect = match suspect() {
            Some(i) => format!("M{} is suspect: one other sign in its line makes all of C right", i + 1),
            None => "More than one entry of the table is wrong".into(),
        };
        let [a, b, c] = [p, q, r].map(|at| QUADRANTS[at]);
        panic!(
            "C{c} is the first quadrant that is wrong. Put 1 into A{a} and into B{b}, and 0 everywhere else: C{c} should be \
             {should_come}, and is {comes}. What comes there by your table: {from}. {suspect}"
        );
    }
}

type Block = (f64, usize, usize);
type Side = (&'static str, fn(&Product) -> [i8; 4]);

const SIDES: [Side; 3] = [("A", |m| m.left), ("B", |m| m.right), ("C", |m| m.into)];

/// The blocks of product `i` by the definition: in each block of the grid, one quadrant for each level.
fn defined(plan: Plan, i: usize, signs: fn(&Product) -> [i8; 4]) -> Vec<Block> {
    let side = plan.side();
    let sign = |row: usize, col: usize| -> f64 {
        (0..plan.levels)
            .map(|level| {
                let quadrant = 2 * (row >> level & 1) + (col >> level & 1);
                f64::from(signs(&SEVEN[i / 7usize.pow(level) % 7])[quadrant])
            })
            .product()
    };
    let all = (0..side * side).map(|at| (sign(at / side, at % side), at / side, at % side));
    all.filter(|block| block.0 != 0.0).collect()
}

/// A list of blocks as a sum: "+A(2,0) -A(2,2)".
fn shown(of: &str, blocks: &[Block]) -> String {
    let term = |(sign, row, col): &Block| match sign {
        1.0 => format!("+{of}({row},{col})"),
        -1.0 => format!("-{of}({row},{col})"),
        _ => format!("{sign}*{of}({row},{col})"),
    };
    if blocks.is_empty() { "nothing".into() } else { blocks.iter().map(term).collect::<Vec<_>>().join(" ") }
}

/// What is said of blocks that have no part.
fn idle(blocks: &[Block]) -> Option<&'static str> {
    let some = blocks.iter().any(|&(sign, ..)| sign == 0.0);
    some.then_some("A quadrant whose sign is 0 has no part in the product: leave it out")
}

/// The blocks that `Plan::blocks` gives, in order of rows and columns.
fn blocks_of(plan: Plan, i: usize, signs: fn(&Product) -> [i8; 4]) -> Vec<Block> {
    let mut blocks = plan.blocks(i, signs);
    blocks.sort_by_key(|&(_, row, col)| (row, col));
    blocks
}

/// Product `i` in words: its digits, outermost first.
fn named(plan: Plan, i: usize) -> String {
    let digit = |level: u32| i / 7usize.pow(level) % 7;
    let levels = (0..plan.levels).rev();
    let digits: String = levels.clone().map(|level| digit(level).to_string()).collect();
    let place = |level| match level {
        _ if level + 1 == plan.levels => "outside",
        0 => "inside",
        _ => "in it",
    };
    let path: Vec<_> = levels.map(|level| format!("M{} {}", digit(level) + 1, place(level))).collect();
    format!("product {i} of {} is {digits} in base 7: {}", plan.products(), path.join(", "))
}

fn first_levels(_: u64) {
    let whole = blocks_of(Plan::new(8, 8, 8, 0), 0, |m| m.left);
    assert!(
        whole == [(1.0, 0, 0)],
        "at level 0 nothing is cut, and the only product has the whole matrix on its left, +A(0,0): yours has {}",
        shown("A", &whole)
    );
    let plan = Plan::new(8, 8, 8, 1);
    for i in 0..7 {
        for (of, signs) in SIDES {
            let (blocks, defined) = (blocks_of(plan, i, signs), defined(plan, i, signs));
            assert!(
                blocks == defined,
                "at level 1, M{} has by your table {}, where {of}11 is {of}(0,0) and {of}12 is {of}(0,1); `blocks` gives {}{}",
                i + 1,
                shown(of, &defined),
                shown(of, &blocks),
                idle(&blocks).map_or_else(String::new, |why| format!(". {why}"))
            );
        }
    }
}

fn digits(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for levels in [2, 3] {
        let plan = Plan::new(64, 64, 64, levels);
        let some = (0..20).map(|_| rng.random_range(0..plan.products()));
        for i in [9, plan.products() - 6].into_iter().chain(some) {
            for (of, signs) in SIDES {
                let (blocks, right) = (blocks_of(plan, i, signs), defined(plan, i, signs));
                if blocks == right {
                    continue;
                }
                // The number with the same digits from behind.
                let turned = (0..levels).fold(0, |n, level| 7 * n + i / 7usize.pow(level) % 7);
                let places = |blocks: &[Block]| blocks.iter().map(|&(_, r, c)| (r, c)).collect::<Vec<_>>();
                let crossed = blocks.iter().map(|&(sign, row, col)| (sign, col, row)).collect::<Vec<_>>();
                let is_turned =
                    |(_, signs): &Side| blocks_of(plan, i, *signs) == defined(plan, turned, *signs);
                let why = if let Some(why) = idle(&blocks) {
                    why
                } else if SIDES.iter().all(is_turned) {
                    "You begin with the last digit: the most significant digit is the outermost level"
                } else if places(&blocks) == places(&right) {
                    "The blocks are right, and their signs are not: the signs of the levels are multiplied"
                } else if crossed.len() == right.len() && crossed.iter().all(|block| right.contains(block)) {
                    "Rows and columns are exchanged: quadrant 12 is above and to the right"
                } else {
                    "Each level halves the block that the levels before it arrived at: row 2 * row, or 2 * row + 1"
                };
                panic!(
                    "{}. It has {}, and `blocks` gives {}. {why}",
                    named(plan, i),
                    shown(of, &right),
                    shown(of, &blocks)
                );
            }
        }
    }
}

/// The product by its definition.
fn defined_product(a: &Matrix, b: &Matrix) -> Matrix {
    let mut c = Matrix::zeros(a.rows(), b.cols());
    for (at, c) in c.data.iter_mut().enumerate() {
        *c = (0..a.cols()).map(|k| a.row(at / b.cols())[k] * b.row(k)[at % b.cols()]).sum();
    }
    c
}

/// An operand as a matrix.
fn built(operand: Operand<'_>) -> Matrix {
    let mut matrix = Matrix::zeros(operand.rows(), operand.cols());
    operand.fill_rows(0, matrix.as_mut_slice());
    matrix
}

fn products(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for levels in [0, 1, 1, 2, 2, 3] {
        let [m, k, n] = [0; 3].map(|_| rng.random_range(1..14));
        let (a, b) = (Matrix::random_integers(m, k, &mut rng), Matrix::random_integers(k, n, &mut rng));
        let plan = Plan::new(m, k, n, levels);
        let mut c = Matrix::zeros(m, n);
        let mut order: Vec<usize> = (0..plan.products()).collect();
        order.shuffle(&mut rng);
        let assembly = Assembly::new(plan, &mut c);
        for i in order {
            for (of, signs) in SIDES {
                for (_, row, col) in plan.blocks(i, signs) {
                    let side = plan.side();
                    assert!(
                        row < side && col < side,
                        "{}. `blocks` gives the block {of}({row},{col}), and there are {side} x {side}",
                        named(plan, i)
                    );
                }
            }
            let (left, right) = (built(plan.left(i, a.view())), built(plan.right(i, b.view())));
            assembly.add(i, 0, defined_product(&left, &right).as_slice());
        }
        drop(assembly);
        let right = defined_product(&a, &b);
        for at in 0..m * n {
            let (is, should) = (c.data[at], right.data[at]);
            assert!(
                is == should,
                "{m} x {k} by {k} x {n} with --levels {levels}, seed {seed}: C in row {}, column {} should be {should}, and is {is}",
                at / n,
                at % n
            );
        }
    }
}
