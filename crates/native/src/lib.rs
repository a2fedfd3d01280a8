//! Frames of the CQL native protocol, versions 4 and 5: encode and decode, pure.
//!
//! The crate holds its place in the graph and is empty: the protocol has not landed, and no listener
//! for it exists. Its invariants once it does: no length from the wire is trusted before it is checked
//! against the bytes that are left, and no input makes it panic.
