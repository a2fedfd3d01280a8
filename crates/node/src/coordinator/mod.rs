//! What a coordinator knows of the requests that it has taken on. Pure: each request is one small struct
//! with what can happen to it as methods that decide; [`crate::Shard`] carries the decisions out.

pub(crate) mod latency;
pub(crate) mod quorum;
mod reconcile;
pub(crate) mod round;
pub(crate) mod select;
pub(crate) mod write;
