//! Matrices in files: the `.npy` format of NumPy.
//!
//! A `.npy` file is a magic string, a header that is a Python dictionary, and the entries, one after
//! another as they lie in memory:
//!
//! ```text
//!     \x93NUMPY 1 0 | length | {'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), } | entries
//! ```
//!
//! The entries go straight between the file and the matrix, at the speed of memory. Read is every type that loses
//! nothing as an `f64`: reals of 2, 4 and 8 bytes, whole numbers of 1 to 8 with a sign or without, and truth values, in
//! either byte order, in C order (row after row) and in Fortran order (column after column). Written is `<f8` in C
//! order, which every NumPy reads back bit for bit.
//!
//! A header may say anything, so nothing is believed, and nothing allocated, before it agrees with the
//! length of the file. Every refusal says what to do next.
//!
//! What is missing: `.npz`, complex numbers, records. NumPy converts all of these.

use std::io::{self, Read, Write};

use serde::Deserialize;
use serde_json::Value;

use super::Matrix;
use crate::error::{Error, Result};

#[cfg(target_endian = "big")]
compile_error!("peerlab sends and stores numbers as they lie in memory, and both formats are little-endian");

/// With what a file begins.
const MAGIC: &[u8] = b"\x93NUMPY";

/// Bytes before the header in version 1, which counts its length in two bytes.
const PREAMBLE: usize = 10;

/// The entries begin at a multiple of so many bytes.
const ALIGNMENT: usize = 64;

/// How the header ends of a matrix that `make` wrote. NumPy passes over spaces; here they say which command it was.
pub const MAKE: &str = "}";

/// And of one that `multiply` wrote.
pub const MULTIPLY: &str = "  }";

/// And of one from before the two were told apart.
const EITHER: &str = " }";

/// Longest header read, in bytes; NumPy writes 118 for any matrix.
const HEADER_LIMIT: usize = 4096;

/// Columns of a Fortran file that are turned at a time: one cache line of a row.
const COLUMNS: usize = 8;

/// Entries of another type that are converted at a time, so that they stay in the nearest cache.
const CONVERTED: usize = 2048;

/// Whole numbers above this are not all `f64`: 2^53.
const EXACT: u128 = 1 << 53;

/// Reads as many entries as it is given room for, in the order of the file.
type ReadEntries = Box<dyn Fn(&mut dyn Read, &mut [f64]) -> Result<()>>;

/// How many bytes an entry of this type has, and how they are read: the type is a byte order, and a kind, as NumPy
/// names them (`<f8`).
fn stored(descr: &str) -> Result<(usize, ReadEntries)> {
    let order_and_kind = descr.split_at_checked(1).filter(|(order, _)| "<>|=".contains(order));
    let (order, kind) = order_and_kind.unwrap_or_default();
    let big_endian = order == ">";
    Ok(match kind {
        "f8" if !big_endian => {
            (8, Box::new(|from, to| from.read_exact(bytemuck::cast_slice_mut(to)).map_err(torn)))
        }
        "f8" => converted(big_endian, |x| Ok(f64::from_le_bytes(x))),
        "f4" => converted(big_endian, |x| Ok(f32::from_le_bytes(x).into())),
        "f2" => converted(big_endian, |x| Ok(half(u16::from_le_bytes(x)))),
        "i8" => converted(big_endian, |x| exact(i64::from_le_bytes(x).into())),
        "i4" => converted(big_endian, |x| Ok(i32::from_le_bytes(x).into())),
        "i2" => converted(big_endian, |x| Ok(i16::from_le_bytes(x).into())),
        "i1" => converted(big_endian, |x| Ok(i8::from_le_bytes(x).into())),
        "u8" => converted(big_endian, |x| exact(u64::from_le_bytes(x).into())),
        "u4" => converted(big_endian, |x| Ok(u32::from_le_bytes(x).into())),
        "u2" => converted(big_endian, |x| Ok(u16::from_le_bytes(x).into())),
        "u1" | "b1" => converted(big_endian, |x| Ok(u8::from_le_bytes(x).into())),
        _ => {
            let what = format!("its entries are of type {descr}, not whole numbers or reals");
            return Err(
                Error::failed(what).advise("save it again with numpy.save(path, array.astype('<f8'))")
            );
        }
    })
}

/// Entries that become `f64` one by one, from bytes in little-endian order. One that cannot is the error.
fn converted<const SIZE: usize>(
    big_endian: bool,
    to_f64: impl Fn([u8; SIZE]) -> Result<f64, i128> + 'static,
) -> (usize, ReadEntries) {
    let read = move |reader: &mut dyn Read, out: &mut [f64]| {
        let mut buffer = [[0; SIZE]; CONVERTED];
        for out in out.chunks_mut(CONVERTED) {
            let entries = &mut buffer[..out.len()];
            reader.read_exact(entries.as_flattened_mut()).map_err(torn)?;
            if big_endian {
                entries.iter_mut().for_each(|bytes| bytes.reverse());
            }
            for (out, bytes) in out.iter_mut().zip(entries) {
                *out = to_f64(*bytes).map_err(|number| {
                    Error::failed(format!("its entry {number} is beyond 2^53 and would be rounded"))
                        .advise("if that is meant, save it with numpy.save(path, array.astype('<f8'))")
                })?;
            }
        }
        Ok(())
    };
    (SIZE, Box::new(read))
}

/// A whole number as an `f64`, unless it is perhaps none.
fn exact(number: i128) -> Result<f64, i128> {
    if number.unsigned_abs() <= EXACT { Ok(number as i64 as f64) } else { Err(number) }
}

fn torn(error: io::Error) -> Error {
    Error::failed("the entries cannot be read").because(error).advise("write or copy the file again")
}

/// Reads a matrix from a `.npy` file of `length` bytes.
///
/// An error says what is wrong with the file, but not its name: the caller knows that.
pub fn read(mut reader: impl Read, length: u64) -> Result<Matrix> {
    let (header, header_length) = read_header(&mut reader, length)?;
    let (size, read_entries) = stored(header.descr.as_str().unwrap_or("record"))?;
    let (rows, cols) = shape(&header.shape)?;
    let entries = (rows as u128).saturating_mul(cols as u128);
    let expected = entries.saturating_mul(size as u128).saturating_add(header_length as u128);
    if expected != u128::from(length) {
        let verb = if expected < u128::from(length) { "has bytes left over" } else { "is cut off" };
        let wants = format!("a {rows} x {cols} matrix of this type takes {expected} bytes, it has {length}");
        return Err(Error::failed(format!("the file {verb}: {wants}")).advise("write or copy it again"));
    }
    let mut matrix = Matrix::try_zeros(rows, cols)?.on_huge_pages();
    if header.fortran_order {
        read_columns(&mut reader, &read_entries, &mut matrix)?;
    } else {
        read_entries(&mut reader, matrix.as_mut_slice())?;
    }
    Ok(matrix)
}

/// Writes a matrix as a `.npy` file, for a command: [`MAKE`] or [`MULTIPLY`].
pub fn write(matrix: &Matrix, by: &str, mut writer: impl Write) -> Result<()> {
    writer
        .write_all(&beginning(matrix.rows(), matrix.cols(), by))
        .and_then(|()| writer.write_all(bytemuck::cast_slice(matrix.as_slice())))
        .and_then(|()| writer.flush())
        .map_err(|error| Error::failed("cannot write the matrix").because(error))
}

/// With what a file begins that is written here: NumPy leaves out one comma.
fn beginning(rows: usize, cols: usize, by: &str) -> Vec<u8> {
    let text = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {cols}, ),{by}");
    let length = (PREAMBLE + text.len() + 1).next_multiple_of(ALIGNMENT) - PREAMBLE;
    let text = format!("{text:width$}\n", width = length - 1);
    [MAGIC, &[1, 0], &(length as u16).to_le_bytes(), text.as_bytes()].concat()
}

/// Rows and columns of the matrix in a file that [`write()`] made for this command, or for one that it does not say.
/// `None` for any other file, also one of NumPy.
pub fn written_here(reader: impl Read, by: &str) -> Option<(usize, usize)> {
    let mut bytes = Vec::new();
    reader.take(HEADER_LIMIT as u64).read_to_end(&mut bytes).ok()?;
    let (header, _) = read_header(&mut &*bytes, bytes.len() as u64).ok()?;
    let (rows, cols) = shape(&header.shape).ok()?;
    let begins = |by: &str| bytes.starts_with(&beginning(rows, cols, by));
    (begins(by) || begins(EITHER)).then_some((rows, cols))
}

/// What a header says.
#[derive(Deserialize)]
struct Header {
    /// The type of the entries, as NumPy names it; of records it is a list.
    descr: Value,
    /// Column after column, not row after row.
    fortran_order: bool,
    shape: Vec<u64>,
}

/// The header, and how many bytes of the file it takes.
fn read_header(reader: &mut impl Read, length: u64) -> Result<(Header, usize)> {
    let not_npy = |cause: String| {
        Error::failed(format!("this is not a .npy file: {cause}"))
            .advise("write it with numpy.save(path, array)")
    };
    let mut bytes = [0; PREAMBLE + 2];
    reader.read_exact(&mut bytes[..PREAMBLE]).map_err(|_| not_npy("it is too short".into()))?;
    if !bytes.starts_with(MAGIC) {
        return Err(not_npy("it begins with something else".into()));
    }
    // Version 1 counts the header's length in two bytes, versions 2 and 3 in four.
    let preamble = if bytes[6] == 1 { PREAMBLE } else { PREAMBLE + 2 };
    reader.read_exact(&mut bytes[PREAMBLE..preamble]).map_err(|_| not_npy("it is too short".into()))?;
    let text = bytes[8..preamble].iter().rev().fold(0, |size, byte| size << 8 | usize::from(*byte));
    if text > HEADER_LIMIT || (preamble + text) as u64 > length {
        return Err(not_npy(format!("its header claims {text} bytes")));
    }
    let mut bytes = vec![0; text];
    reader.read_exact(&mut bytes).map_err(|_| not_npy("it ends within the header".into()))?;
    let header = parse_header(&String::from_utf8_lossy(&bytes));
    let header = header.map_err(|e| not_npy(format!("its header cannot be read: {e}")))?;
    Ok((header, preamble + text))
}

/// The dictionary of Python, read as the JSON that it nearly is. An L marked whole numbers in the Python of long ago.
fn parse_header(text: &str) -> serde_json::Result<Header> {
    let mut json =
        text.replace(char::is_whitespace, "").replace('\'', "\"").replace('(', "[").replace(')', "]");
    for (python, in_json) in
        [("True", "true"), ("False", "false"), ("L,", ","), ("L]", "]"), (",]", "]"), (",}", "}")]
    {
        json = json.replace(python, in_json);
    }
    serde_json::from_str(&json)
}

/// Rows and columns, if there are two dimensions.
fn shape(shape: &[u64]) -> Result<(usize, usize)> {
    let too_large =
        |_| Error::failed(format!("a matrix of shape {shape:?} is larger than this machine's memory"));
    match *shape {
        [rows, cols] => Ok((rows.try_into().map_err(too_large)?, cols.try_into().map_err(too_large)?)),
        [entries] => Err(Error::failed(format!("it holds a vector of {entries} entries, not a matrix")).advise(
            format!("save it as one row, array.reshape(1, {entries}), or as one column, array.reshape({entries}, 1)"),
        )),
        [] => Err(Error::failed("it holds a single number, not a matrix")
            .advise("save it as one row and one column, array.reshape(1, 1)")),
        _ => Err(Error::failed(format!("its array has {} dimensions, a matrix has 2", shape.len()))
            .advise("save one matrix of it, such as array[0]")),
    }
}

/// A number of 16 bits (binary16 of IEEE 754): a sign, five bits of exponent, ten of fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// Reads a file in Fortran order: a few columns at a time, turned into short pieces of every row.
fn read_columns(reader: &mut impl Read, read_entries: &ReadEntries, matrix: &mut Matrix) -> Result<()> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    if rows == 0 {
        return Ok(());
    }
    let mut columns = Matrix::try_zeros(COLUMNS.min(cols), rows)?;
    for first in (0..cols).step_by(COLUMNS) {
        let count = COLUMNS.min(cols - first);
        let columns = &mut columns.as_mut_slice()[..rows * count];
        read_entries(reader, columns)?;
        for (i, row) in matrix.as_mut_slice().chunks_exact_mut(cols).enumerate() {
            for (j, out) in row[first..first + count].iter_mut().enumerate() {
                *out = columns[j * rows + i];
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::rng;
    use super::*;

    /// A file as NumPy writes it.
    fn file(header: &str, entries: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(entries);
        bytes
    }

    fn header(descr: &str, fortran: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}    \n")
    }

    fn load(bytes: &[u8]) -> Result<Matrix> {
        read(bytes, bytes.len() as u64)
    }

    #[track_caller]
    fn refused(bytes: &[u8], words: &str) {
        let error = load(bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }

    #[test]
    fn what_is_written_reads_back_bit_for_bit() {
        for (rows, cols) in [(3, 4), (1, 1), (0, 5), (5, 0), (0, 0), (129, 257)] {
            let matrix = Matrix::random(rows, cols, &mut rng(1));
            let mut bytes = Vec::new();
            write(&matrix, MULTIPLY, &mut bytes).unwrap();
            assert_eq!(load(&bytes).unwrap(), matrix);
        }
    }

    #[test]
    fn a_file_that_was_written_here_is_told_from_one_of_numpy() {
        for (maker, other) in [(MAKE, MULTIPLY), (MULTIPLY, MAKE)] {
            let mut ours = Vec::new();
            write(&Matrix::zeros(2, 3), maker, &mut ours).unwrap();
            assert_eq!(written_here(&*ours, maker), Some((2, 3)));
            assert_eq!(written_here(&*ours, other), None);
            // As both were written before.
            let text = header("<f8", "False", "(2, 3, )").trim_end().to_owned();
            let before = file(&format!("{text:117}\n"), &[0; 48]);
            assert_eq!(written_here(&*before, maker), Some((2, 3)));
            assert_eq!(written_here(&*file(&header("<f8", "False", "(2, 3)"), &[0; 48]), maker), None);
            assert_eq!(written_here(&b"text"[..], maker), None);
        }
    }

    #[test]
    fn all_types_are_read_in_both_orders() {
        let as_f64: Vec<f64> = (0..33).map(|x| f64::from(x) - 16.0).collect();
        fn stored<const SIZE: usize>(numbers: &[f64], store: impl Fn(f64) -> [u8; SIZE]) -> Vec<u8> {
            numbers.iter().flat_map(|x| store(*x)).collect()
        }
        let files = [
            ("<f8", stored(&as_f64, f64::to_le_bytes)),
            (">f8", stored(&as_f64, f64::to_be_bytes)),
            ("<f4", stored(&as_f64, |x| (x as f32).to_le_bytes())),
            (">f4", stored(&as_f64, |x| (x as f32).to_be_bytes())),
            ("<i8", stored(&as_f64, |x| (x as i64).to_le_bytes())),
            (">i8", stored(&as_f64, |x| (x as i64).to_be_bytes())),
            ("<i4", stored(&as_f64, |x| (x as i32).to_le_bytes())),
            (">i2", stored(&as_f64, |x| (x as i16).to_be_bytes())),
            ("|i1", stored(&as_f64, |x| (x as i8).to_le_bytes())),
        ];
        for (descr, entries) in files {
            let by_rows = load(&file(&header(descr, "False", "(3L, 11L)"), &entries)).unwrap();
            assert_eq!(by_rows.as_slice(), as_f64, "{descr}");
            let by_columns = load(&file(&header(descr, "True", "(3, 11)"), &entries)).unwrap();
            assert_eq!(by_columns.row(1), (0..11).map(|j| as_f64[3 * j + 1]).collect::<Vec<_>>(), "{descr}");
        }
    }

    #[test]
    fn numbers_without_a_sign_truth_values_and_half_precision_are_read() {
        for (descr, bytes, number) in [
            ("|u1", &[200][..], 200.0),
            ("<u2", &[0, 200], 51_200.0),
            (">u2", &[200, 0], 51_200.0),
            ("<u4", &[0, 0, 0, 200], 3_355_443_200.0),
            ("<u8", &[1, 0, 0, 0, 1, 0, 0, 0], 4_294_967_297.0),
            ("|b1", &[1], 1.0),
            // As numpy.float16 has them.
            ("<f2", &[0x00, 0x3c], 1.0),
            ("<f2", &[0x55, 0xb5], -0.333_251_953_125),
            (">f2", &[0x7b, 0xff], 65_504.0),
            ("<f2", &[0x01, 0x00], 5.960_464_477_539_063e-8),
            ("<f2", &[0x00, 0xfc], f64::NEG_INFINITY),
        ] {
            let read = load(&file(&header(descr, "False", "(1, 1)"), bytes)).unwrap();
            assert_eq!(read.as_slice(), [number], "{descr}");
        }
        let nan = load(&file(&header("<f2", "False", "(1, 1)"), &[0x00, 0x7e])).unwrap();
        assert!(nan.as_slice()[0].is_nan());
    }

    #[test]
    fn many_converted_entries_keep_their_places() {
        let entries: Vec<i32> = (0..3 * CONVERTED as i32 + 5).collect();
        let bytes =
            file(&header("<i4", "False", &format!("(1, {})", entries.len())), bytemuck::cast_slice(&entries));
        assert!(load(&bytes).unwrap().as_slice().iter().zip(&entries).all(|(x, n)| *x == f64::from(*n)));
    }

    #[test]
    fn versions_two_and_three_are_read() {
        let text = header("<f8", "False", "(1, 1)");
        for version in [2, 3] {
            let mut bytes = vec![0x93, b'N', b'U', b'M', b'P', b'Y', version, 0];
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text.as_bytes());
            bytes.extend(2.5f64.to_le_bytes());
            assert_eq!(load(&bytes).unwrap().as_slice(), [2.5]);
        }
    }

    #[test]
    fn a_file_of_the_wrong_length_is_refused() {
        let right = file(&header("<f8", "False", "(2, 3)"), &[0; 48]);
        assert!(load(&right).is_ok());
        refused(&right[..right.len() - 1], "cut off");
        refused(&[&right[..], &[0]].concat(), "left over");
        for cut in [0, 5, 9, 11, 40] {
            refused(&right[..cut], ".npy file");
        }
        // The length is right, but the bytes end early: another program is still writing.
        let torn = read(&right[..right.len() - 8], right.len() as u64).unwrap_err();
        assert!(torn.to_string().contains("cannot be read"), "{torn}");
    }

    #[test]
    fn a_header_that_claims_more_than_the_file_holds_allocates_nothing() {
        refused(&file(&header("<f8", "False", "(1000000000000000, 1)"), &[]), "cut off");
        refused(&file(&header("<f8", "False", "(99999999, 99999999)"), &[]), "cut off");
        refused(&file(&header("<f8", "False", "(4294967296, 4294967296)"), &[]), "cut off");
        refused(
            &file(&header("<f8", "False", "(0xffffffffffffffff, 0xffffffffffffffff)"), &[]),
            "cannot be read",
        );
        refused(&file(&header("<f8", "False", "(-1, 2)"), &[]), "`-1`");
        refused(b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "4294967295 bytes");
        refused(&file(&"[".repeat(2000), &[]), "recursion limit");
        refused(&file(&" ".repeat(HEADER_LIMIT + 1), &[]), "4097 bytes");
    }

    #[test]
    fn what_is_not_a_matrix_of_numbers_is_refused_with_advice() {
        refused(b"PK\x03\x04 and so on, a zip file", "numpy.save");
        refused(&file(&header("<f8", "False", "(6,)"), &[0; 48]), "reshape(1, 6)");
        refused(&file(&header("<f8", "False", "()"), &[0; 8]), "array.reshape(1, 1)");
        refused(&file(&header("<f8", "False", "(1, 2, 3)"), &[0; 48]), "array[0]");
        for descr in ["<c16", "|O", "<U4", "<f16", "<i3", "f8", "<M8", "", "é8"] {
            refused(&file(&header(descr, "False", "(1, 1)"), &[0; 16]), "astype('<f8')");
        }
        refused(
            &file("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1, 1)}", &[0; 8]),
            "astype",
        );
        refused(&file("{'shape': (1, 1)}", &[0; 8]), "missing field");
        refused(&file("garbage", &[]), ".npy file");
    }

    #[test]
    fn whole_numbers_that_an_f64_cannot_hold_are_refused() {
        let edge = [1i64 << 53, -(1 << 53)];
        assert!(load(&file(&header("<i8", "False", "(1, 2)"), bytemuck::cast_slice(&edge))).is_ok());
        for beyond in [(1i64 << 53) + 1, i64::MIN] {
            refused(&file(&header("<i8", "False", "(1, 1)"), &beyond.to_le_bytes()), "2^53");
        }
        refused(&file(&header("<u8", "False", "(1, 1)"), &u64::MAX.to_le_bytes()), "2^53");
    }
}
