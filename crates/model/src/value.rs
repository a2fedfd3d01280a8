//! placeholder
#[derive(Debug)]
/// placeholder
pub struct Value;
