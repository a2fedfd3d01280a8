//! Oracle: one metadata log.
//!
//! Proves: whatever member publishes a view of an epoch, the view is the same, so all members apply one log in
//! one order; a member's epoch never goes back, not even by a crash, since a view is published only once it is
//! stored; a change of the schema that is acknowledged is in effect at the epoch that it was answered with, and
//! a majority of the members had published that epoch by then; two CREATE TABLE of one name have one winner.
//!
//! Not more, because: a change that timed out may be decided at any time later, or never.

use super::Violation;
use crate::clock::TrueTime;
use membership::ClusterView;
use model::{Epoch, TableId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Its name in reports.
pub const NAME: &str = "metadata";

/// Beyond this many machines views are told apart by their sizes only: comparing a thousand views of a thousand
/// members at a thousand epochs is the square of what the cluster itself does.
const COMPARED_MACHINES_MAX: usize = 20;

/// What an acknowledged change of the schema says of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effective {
    /// A table of this name exists; with this id, unless the statement said IF NOT EXISTS or was a TRUNCATE.
    Exists(String, Option<TableId>),
    /// No table of this name exists.
    Gone(String),
}

/// Everything that members have published.
pub struct Metadata {
    keyspace: &'static str,
    views: BTreeMap<Epoch, Arc<ClusterView>>,
    published: Vec<Epoch>,
    effective: BTreeMap<Epoch, Vec<Effective>>,
}

impl Metadata {
    /// Nothing is published yet by this many machines; tables are those of `keyspace`.
    #[must_use]
    pub fn new(machines: usize, keyspace: &'static str) -> Metadata {
        let (views, effective) = (BTreeMap::new(), BTreeMap::new());
        Metadata { keyspace, views, published: vec![Epoch(0); machines], effective }
    }

    /// A member published a view.
    ///
    /// # Errors
    /// When it is not the view that others have of that epoch, or the member's epoch went back.
    pub fn publish(&mut self, machine: usize, view: &Arc<ClusterView>) -> Result<(), Violation> {
        let last = &mut self.published[machine];
        if view.epoch < *last {
            let text = format!("node {machine} published epoch {} after {}", view.epoch.0, last.0);
            return Err(Violation::new(NAME, text));
        }
        *last = view.epoch;
        let compared = self.published.len() <= COMPARED_MACHINES_MAX;
        match self.views.get(&view.epoch) {
            None => {
                self.views.insert(view.epoch, view.clone());
                let claims = self.effective.get(&view.epoch);
                claims.into_iter().flatten().try_for_each(|claim| self.check(view, claim))
            }
            Some(known) if compared && **known != **view => {
                let text = format!("node {machine} sees epoch {} as {view:?}, another as {known:?}", view.epoch.0);
                Err(Violation::new(NAME, text))
            }
            Some(known) if known.members.len() != view.members.len() || known.cluster_id != view.cluster_id => {
                let text = format!("node {machine} sees other members than others at epoch {}", view.epoch.0);
                Err(Violation::new(NAME, text))
            }
            Some(_) => Ok(()),
        }
    }

    /// The log was recovered at `slot`: nothing is known from there on, under the cluster's new name.
    pub fn forget_from(&mut self, slot: Epoch) {
        self.views.retain(|epoch, _| *epoch < slot);
        self.effective.retain(|epoch, _| *epoch < slot);
    }

    /// A change of the schema was acknowledged at `time` as in effect at `epoch`.
    ///
    /// # Errors
    /// When it is not, or no majority has applied it.
    pub fn acknowledge(&mut self, epoch: Epoch, claim: Effective, time: TrueTime) -> Result<(), Violation> {
        let applied = self.published.iter().filter(|published| **published >= epoch).count();
        let members = self.views.get(&epoch).map_or(self.published.len(), |view| view.members.len());
        if 2 * applied <= members {
            let text = format!("{claim:?} was acknowledged at {time}, but only {applied} of {members} members have it");
            return Err(Violation::new(NAME, text));
        }
        match self.views.get(&epoch).cloned() {
            Some(view) => self.check(&view, &claim),
            None => {
                self.effective.entry(epoch).or_default().push(claim);
                Ok(())
            }
        }
    }

    fn check(&self, view: &ClusterView, claim: &Effective) -> Result<(), Violation> {
        let found = |name: &str| view.schema.find_table(self.keyspace, name).ok().map(|table| table.id);
        let holds = match claim {
            Effective::Exists(name, None) => found(name).is_some(),
            Effective::Exists(name, id) => found(name) == *id,
            Effective::Gone(name) => found(name).is_none(),
        };
        if holds {
            return Ok(());
        }
        let text = format!("{claim:?} was acknowledged as in effect at epoch {}, and is not", view.epoch.0);
        Err(Violation::new(NAME, text))
    }

    /// The epochs that the machines have published last.
    #[must_use]
    pub fn epochs(&self) -> &[Epoch] {
        &self.published
    }
}
