//! Matrices.
