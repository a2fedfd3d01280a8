//! The gate before a shard: requests of clients are refused here, before anything was done for them, when they would
//! wait for too long, or when the shard has as many in flight as it takes.
//!
//! Invariants:
//! * Every request that has passed is counted as waiting until its shard begins with it, or it does not get there.
//! * What is asked and counted here is cheap: it is done for every request, by whoever takes it in.

use crate::shard_loop::INBOX_INPUTS_MAX;
use model::RequestError;
use node::{QueueLimit, ServiceTime};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Requests that may always wait before a shard.
const ALWAYS: u64 = 32;
/// Requests that may wait however quick the shard is: the rest of its inbox is for what others say to it.
const WAITING_MAX: u64 = INBOX_INPUTS_MAX as u64 * 3 / 4;

/// The gate before one shard.
// Its numbers order nothing: each is read alone, and may be a moment old.
#[derive(Debug)]
pub(crate) struct Gate {
    limit: QueueLimit,
    waiting: AtomicU64,
    /// How long the shard takes for one, lately.
    service_nanos: AtomicU64,
    is_full: AtomicBool,
    refused: AtomicU64,
}

impl Gate {
    /// One that lets requests wait for so long.
    pub(crate) fn new(wait_max: Duration) -> Gate {
        Gate {
            limit: QueueLimit { wait_max, always: ALWAYS },
            waiting: AtomicU64::new(0),
            service_nanos: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }

    /// Says whether a request that must be done within `timeout` may come in.
    ///
    /// # Errors
    /// `Overloaded`.
    pub(crate) fn check(&self, timeout: Duration) -> Result<(), RequestError> {
        let service = ServiceTime::from_nanos(self.service_nanos.load(Ordering::Relaxed));
        let waiting = self.waiting();
        let message = if self.is_full.load(Ordering::Relaxed) {
            "as many requests are in flight as it works on at once"
        } else if waiting >= WAITING_MAX || !self.limit.has_room(waiting, service, timeout) {
            "the request would wait for too long, and nothing was done"
        } else {
            return Ok(());
        };
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(RequestError::Overloaded(message.to_owned()))
    }

    /// A request comes in.
    pub(crate) fn enter(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is begun, or does not get to its shard.
    pub(crate) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Requests that were refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The shard says how it is.
    pub(crate) fn publish(&self, service: ServiceTime, is_full: bool) {
        self.service_nanos.store(service.nanos(), Ordering::Relaxed);
        self.is_full.store(is_full, Ordering::Relaxed);
    }
}

/// Bytes of a statement in which a name is looked for.
const NAME_WITHIN: usize = 1_024;

/// True for the text of a statement that may be about the system tables. The node answers it by itself, and drivers
/// that are not answered connect again, and again: more load.
pub(crate) fn names_system(text: &[u8]) -> bool {
    let name = b"system";
    text[..text.len().min(NAME_WITHIN)].windows(name.len()).any(|part| part.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_refuses_what_would_wait_for_too_long_and_counts_what_waits() {
        let gate = Gate::new(Duration::from_millis(10));
        let timeout = Duration::from_secs(5);
        (0..1_000).for_each(|_| gate.enter());
        gate.check(timeout).expect("how long one takes is not known");
        let mut service = ServiceTime::default();
        service.note(Duration::from_secs(1), 10_000);
        gate.publish(service, false);
        let Err(RequestError::Overloaded(message)) = gate.check(timeout) else { panic!("a thousand take 94 ms") };
        assert!(message.contains("would wait"), "{message}");
        (0..1_000 - ALWAYS).for_each(|_| gate.leave());
        assert!(gate.check(Duration::ZERO).is_err());
        gate.leave();
        gate.check(Duration::ZERO).expect("a few may always wait");
        gate.publish(ServiceTime::default(), false);
        (gate.waiting()..WAITING_MAX).for_each(|_| gate.enter());
        assert!(gate.check(timeout).is_err(), "the inbox is for others too");
        (ALWAYS - 1..WAITING_MAX).for_each(|_| gate.leave());
        gate.publish(service, true);
        let Err(RequestError::Overloaded(message)) = gate.check(timeout) else { panic!("it is full") };
        assert!(message.contains("in flight"), "{message}");
        assert_eq!((gate.refused(), gate.waiting()), (4, ALWAYS - 1));
    }

    #[test]
    fn statements_about_the_system_are_known_by_its_name() {
        for text in ["SELECT * FROM system.local", "select peer from SYSTEM_views.clients", "USE system"] {
            assert!(names_system(text.as_bytes()), "{text}");
        }
        for text in ["", "syste", "SELECT v FROM k.t WHERE id = 1"] {
            assert!(!names_system(text.as_bytes()), "{text}");
        }
        let long = format!("INSERT INTO k.t (v) VALUES ('{}system')", "x".repeat(2_000));
        assert!(!names_system(long.as_bytes()));
    }
}
