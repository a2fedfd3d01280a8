//! The attempts of one call: which node next, how long it may take, and when to stop.

use crate::cluster::{Chosen, Cluster};
use crate::error::ClientError;
use crate::node::{Node, jittered};
use crate::retry::{Decision, Failure, decide};
use model::error::Applied;
use model::{NodeId, Token};
use std::time::Duration;
use tokio::time::Instant;

/// What a call allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) timeout: Duration,
    pub(crate) retries_max: u32,
    /// True when executing it twice is as good as once.
    pub(crate) repeatable: bool,
    /// True when it cannot change anything.
    pub(crate) reads: bool,
}

/// Most times that one call has its statement prepared again.
const PREPARED_AGAIN_MAX: u32 = 3;

#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    cluster: &'a Cluster,
    terms: Terms,
    deadline: Instant,
    tried: Vec<NodeId>,
    retries: u32,
    prepared_again: u32,
    /// The error to end with when nothing else is left to try.
    error: Option<ClientError>,
}

/// What a failed attempt leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Another attempt, on another node.
    NextNode,
    /// Another attempt on the same node, once it knows the statement again.
    PrepareAgain,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(cluster: &'a Cluster, terms: Terms) -> Attempts<'a> {
        let deadline = Instant::now() + terms.timeout;
        Attempts { cluster, terms, deadline, tried: Vec::new(), retries: 0, prepared_again: 0, error: None }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The node for the next attempt.
    pub(crate) async fn node(&mut self, target: Option<(&str, Token)>) -> Result<Chosen, ClientError> {
        let chosen = match self.cluster.choose(target, &self.tried) {
            Some(chosen) => Some(chosen),
            None => self.cluster.choose_or_wait(target, &self.tried, self.deadline).await,
        };
        chosen.ok_or_else(|| self.error.take().unwrap_or_else(|| self.cluster.unreachable()))
    }

    /// When the next attempt ends. While it could be repeated elsewhere it gets half of the time that is left, so
    /// that a node that does not answer does not use up all of it.
    ///
    /// # Errors
    /// When no time is left.
    pub(crate) fn limit(&mut self) -> Result<Instant, ClientError> {
        let now = Instant::now();
        if now >= self.deadline {
            let timeout = ClientError::Timeout { after: self.terms.timeout, applied: Applied::No };
            return Err(self.error.take().unwrap_or(timeout));
        }
        let repeats = self.terms.repeatable && self.retries < self.terms.retries_max;
        let others = self.tried.len() + 1 < self.cluster.size();
        Ok(if repeats && others { now + (self.deadline - now) / 2 } else { self.deadline })
    }

    /// Notes a failed attempt.
    ///
    /// # Errors
    /// The error of the whole call, when there is to be no other attempt.
    pub(crate) async fn failed(&mut self, node: &Node, failure: Failure) -> Result<Again, ClientError> {
        let decision = decide(&failure, self.terms.repeatable, self.retries, self.terms.retries_max);
        let sent = !matches!(failure, Failure::NotSent(_));
        self.note(self.error_of(node, failure));
        match decision {
            Decision::GiveUp => return Err(self.last_error()),
            Decision::PrepareAgain if self.prepared_again >= PREPARED_AGAIN_MAX => return Err(self.last_error()),
            Decision::PrepareAgain => {
                self.prepared_again += 1;
                return Ok(Again::PrepareAgain);
            }
            Decision::NextNode => {}
            Decision::NextNodeAfter(pause) => {
                tokio::time::sleep_until(self.deadline.min(Instant::now() + jittered(pause))).await;
            }
        }
        self.tried.push(node.id);
        self.retries += u32::from(sent);
        Ok(Again::NextNode)
    }

    /// The error of the call as it stands.
    pub(crate) fn last_error(&mut self) -> ClientError {
        self.error.take().unwrap_or_else(|| self.cluster.unreachable())
    }

    /// Keeps the error, unless an earlier attempt may have been applied and this one was not: the caller must
    /// learn of the former.
    fn note(&mut self, error: ClientError) {
        let maybe = |error: &ClientError| error.applied() == Applied::Maybe;
        if !self.error.as_ref().is_some_and(|earlier| maybe(earlier) && !maybe(&error)) {
            self.error = Some(error);
        }
    }

    fn error_of(&self, node: &Node, failure: Failure) -> ClientError {
        let maybe = if self.terms.reads { Applied::No } else { Applied::Maybe };
        let address = node.address.clone();
        match failure {
            Failure::NotSent(reason) => ClientError::Connection { address, reason, applied: Applied::No },
            Failure::Lost(reason) => ClientError::Connection { address, reason, applied: maybe },
            Failure::TimedOut => ClientError::Timeout { after: self.terms.timeout, applied: maybe },
            Failure::Request(error) => ClientError::Request(error),
            Failure::Protocol(reason) => ClientError::Protocol { address, reason },
        }
    }
}
