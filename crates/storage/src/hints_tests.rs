//! Tests of hint files.
