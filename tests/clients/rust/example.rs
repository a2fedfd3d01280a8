//! The example of the manual, which the test writes into a file.

include!(env!("HELENUS_EXAMPLE"));
