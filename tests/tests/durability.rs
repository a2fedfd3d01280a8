//! No acknowledged write is lost: not by killing nodes while they are written to, not by power cuts.

use client::{Session, Statement};
use e2e::Cluster;
use e2e::power_cut::PowerCut;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
