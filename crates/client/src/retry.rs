//! When a failed attempt is repeated. Pure: the session asks, and does what it is told.
//!
//! Invariant: a statement that may have been executed is repeated only if that is harmless, because it reads, or
//! writes with a timestamp what does not depend on the state, or the caller says so.

use model::RequestError;
use model::error::FailureReason;
use std::time::Duration;

/// How an attempt has failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// Nothing was sent.
    NotSent(String),
    /// The connection was lost after something was sent.
    Lost(String),
    /// No answer came in time.
    TimedOut,
    /// The node answered with an error.
    Request(RequestError),
    /// The node answered with what is not an answer.
    Protocol(String),
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Try another node.
    NextNode,
    /// Try another node after this time.
    NextNodeAfter(Duration),
    /// Prepare the statement again on the same node, and try there again.
    PrepareAgain,
    /// The failure is final.
    GiveUp,
}

/// Before a node is tried because another one is overloaded: more load at once would not help.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(20);

/// What to do after `failure`, when `retries` attempts have been repeated already and at most `retries_max` may
/// be. Attempts in which nothing was sent do not count.
pub(crate) fn decide(failure: &Failure, repeatable: bool, retries: u32, retries_max: u32) -> Decision {
    match failure {
        Failure::NotSent(_) => return Decision::NextNode,
        Failure::Request(RequestError::Unprepared { .. }) => return Decision::PrepareAgain,
        _ if retries >= retries_max => return Decision::GiveUp,
        _ => {}
    }
    let next = |safe| if safe { Decision::NextNode } else { Decision::GiveUp };
    match failure {
        Failure::NotSent(_) | Failure::Lost(_) | Failure::TimedOut => next(repeatable),
        Failure::Protocol(_) => Decision::GiveUp,
        Failure::Request(error) => match error {
            // Nothing was done, and another node may see it differently.
            RequestError::Unavailable { .. } | RequestError::NotServing(_) => Decision::NextNode,
            // Another node asks the same replicas.
            RequestError::ReadFailure { reason: FailureReason::TooManyTombstones, .. } => Decision::GiveUp,
            // Once only: retries must not keep an overloaded cluster overloaded.
            RequestError::Overloaded(_) if retries == 0 => Decision::NextNodeAfter(OVERLOAD_PAUSE),
            RequestError::Overloaded(_) => Decision::GiveUp,
            RequestError::WriteTimeout { .. }
            | RequestError::BatchLogTimeout { .. }
            | RequestError::ReadTimeout { .. }
            | RequestError::WriteFailure { .. }
            | RequestError::ReadFailure { .. }
            | RequestError::Server(_) => next(repeatable),
            RequestError::Syntax { .. }
            | RequestError::Invalid(_)
            | RequestError::NotFound(_)
            | RequestError::Unauthorized(_)
            | RequestError::AlreadyExists { .. }
            | RequestError::Config(_)
            | RequestError::FunctionFailure { .. }
            | RequestError::Unprepared { .. }
            | RequestError::CasTimeout { .. }
            | RequestError::CasWriteUnknown { .. }
            | RequestError::SchemaTimeout(_) => Decision::GiveUp,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Consistency;

    fn function_failure() -> RequestError {
        RequestError::FunctionFailure {
            keyspace: "system".to_owned(),
            function: "/".to_owned(),
            argument_types: Vec::new(),
            message: String::new(),
        }
    }

    /// Every failure, with what is done after it: when it is not repeatable, and when it is.
    fn matrix() -> Vec<(Failure, Decision, Decision)> {
        use Decision::{GiveUp, NextNode, PrepareAgain};
        let (consistency, required, received, failures) = (Consistency::Quorum, 2, 1, 1);
        let reason = FailureReason::Unknown;
        let tombstones = FailureReason::TooManyTombstones;
        let request = Failure::Request;
        let pause = Decision::NextNodeAfter(OVERLOAD_PAUSE);
        vec![
            (Failure::NotSent(String::new()), NextNode, NextNode),
            (Failure::Lost(String::new()), GiveUp, NextNode),
            (Failure::TimedOut, GiveUp, NextNode),
            (Failure::Protocol(String::new()), GiveUp, GiveUp),
            (
                request(RequestError::Unavailable { consistency, required, alive: 1, data_center: None }),
                NextNode,
                NextNode,
            ),
            (request(RequestError::NotServing(String::new())), NextNode, NextNode),
            (request(RequestError::Overloaded(String::new())), pause, pause),
            (request(RequestError::WriteTimeout { consistency, received, required }), GiveUp, NextNode),
            (request(RequestError::BatchLogTimeout { received, required }), GiveUp, NextNode),
            (
                request(RequestError::ReadTimeout { consistency, received, required, data_present: true }),
                GiveUp,
                NextNode,
            ),
            (
                request(RequestError::WriteFailure { consistency, received, required, failures, reason }),
                GiveUp,
                NextNode,
            ),
            (
                request(RequestError::ReadFailure { consistency, received, required, failures, reason }),
                GiveUp,
                NextNode,
            ),
            (
                request(RequestError::ReadFailure { consistency, received, required, failures, reason: tombstones }),
                GiveUp,
                GiveUp,
            ),
            (request(RequestError::Server(String::new())), GiveUp, NextNode),
            (request(RequestError::SchemaTimeout(String::new())), GiveUp, GiveUp),
            (request(RequestError::Unprepared { id: String::new() }), PrepareAgain, PrepareAgain),
            (request(RequestError::Syntax { line: 1, column: 1, message: String::new() }), GiveUp, GiveUp),
            (request(RequestError::Invalid(String::new())), GiveUp, GiveUp),
            (request(RequestError::NotFound(String::new())), GiveUp, GiveUp),
            (request(RequestError::AlreadyExists { keyspace: String::new(), table: String::new() }), GiveUp, GiveUp),
            (request(RequestError::Config(String::new())), GiveUp, GiveUp),
            (request(RequestError::Unauthorized(String::new())), GiveUp, GiveUp),
            (request(function_failure()), GiveUp, GiveUp),
        ]
    }

    #[test]
    fn each_failure_is_repeated_only_where_that_is_safe() {
        for (failure, once, repeatable) in matrix() {
            assert_eq!(decide(&failure, false, 0, 2), once, "{failure:?}");
            assert_eq!(decide(&failure, true, 0, 2), repeatable, "{failure:?}");
        }
    }

    #[test]
    fn nothing_that_reached_a_node_is_repeated_more_often_than_allowed() {
        for (failure, ..) in matrix() {
            let decision = decide(&failure, true, 2, 2);
            let free = matches!(failure, Failure::NotSent(_) | Failure::Request(RequestError::Unprepared { .. }));
            assert_eq!(decision == Decision::GiveUp, !free, "{failure:?}");
        }
    }

    #[test]
    fn overload_is_met_with_one_retry() {
        let overloaded = Failure::Request(RequestError::Overloaded(String::new()));
        assert_eq!(decide(&overloaded, true, 1, 9), Decision::GiveUp);
    }

    #[test]
    fn what_may_be_applied_and_is_not_repeatable_is_never_repeated() {
        use model::error::Applied;
        for (failure, ..) in matrix() {
            let maybe = match &failure {
                Failure::NotSent(_) => false,
                Failure::Request(error) => error.applied() == Applied::Maybe,
                _ => true,
            };
            if maybe {
                assert_eq!(decide(&failure, false, 0, 9), Decision::GiveUp, "{failure:?}");
            }
        }
    }
}
