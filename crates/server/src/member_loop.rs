//! The loop of membership: steps `Member` with what arrives and carries out what it asks for.
//!
//! Invariants:
//! * A view is published only after storage has its tables, so that no shard meets a table that storage
//!   does not know; and before the change that made it is answered, so that who created a table can use it
//!   on the same node at once.
//! * Views and the set of living nodes are never lost on their way to a shard.

use crate::boot::Parts;
use crate::clock::Clock;
use crate::exit::{Exit, stop_process};
use crate::shard_loop::ShardInput;
use crate::storage_writer::WriteQueue;
use arc_swap::ArcSwap;
use membership::{ClusterView, Effect, Input, LogStatus, Member, MemberError, MemberStatus, Message};
use model::schema::SchemaChange;
use model::{Epoch, NodeId, RequestError};
use node::RepairsStatus;
use node::storage::{Storage, StorageError};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// Inputs that may wait before the loop.
pub(crate) const INBOX_INPUTS_MAX: usize = 4_096;
const BATCH_INPUTS_MAX: usize = 64;
/// Schema changes that may wait for their decision on one node.
const PROPOSALS_MAX: usize = 1_024;

/// What arrives at membership.
pub(crate) enum MemberInput {
    /// A node says something.
    Message {
        /// Where it listens for other nodes.
        from: SocketAddr,
        /// What.
        message: Message,
    },
    /// Storage answers.
    Stored {
        /// The write.
        op: u64,
        /// Its outcome.
        result: Result<(), StorageError>,
    },
    /// A client wants the schema changed.
    Propose {
        /// How.
        change: SchemaChange,
        /// Gets the epoch that includes the change.
        reply: oneshot::Sender<Result<Epoch, RequestError>>,
    },
    /// Nothing reaches the node that listens there.
    Unreachable(SocketAddr),
    /// A shard has heard of an epoch that this node does not have.
    CatchUp {
        /// Who has it.
        from: NodeId,
        /// Which.
        epoch: Epoch,
    },
    /// This node has done the work of the phase of a change of replication that began at this epoch.
    Done(Epoch),
    /// Somebody wants to know how membership is.
    Status(oneshot::Sender<MemberStatus>),
    /// Somebody wants to know how the metadata log is.
    Log {
        /// With so many of the last entries.
        entries: usize,
        /// Gets it.
        reply: oneshot::Sender<LogStatus>,
    },
}

/// What a node knows of its cluster now, for everybody who only reads.
pub(crate) struct Published {
    /// The view; its storage has its tables.
    pub(crate) view: ArcSwap<ClusterView>,
    /// The nodes taken to be alive, this one among them.
    pub(crate) alive: ArcSwap<BTreeSet<NodeId>>,
    /// How repairs are, as shard 0 has said last.
    pub(crate) repairs: ArcSwap<RepairsStatus>,
    /// True from when the node is a member of a cluster.
    pub(crate) joined: watch::Sender<bool>,
    /// Told after each change of the view and of who is alive.
    pub(crate) changed: watch::Sender<()>,
}

/// Membership and the world that it acts on.
pub(crate) struct MemberLoop {
    /// The logic.
    pub(crate) member: Member,
    /// What arrives.
    pub(crate) inbox: mpsc::Receiver<MemberInput>,
    /// Every clock is read here.
    pub(crate) clock: Clock,
    /// For membership's own records.
    pub(crate) writes: Arc<WriteQueue>,
    /// Of the node.
    pub(crate) parts: Arc<Parts>,
}

type Proposals = BTreeMap<u64, oneshot::Sender<Result<Epoch, RequestError>>>;

impl MemberLoop {
    /// Runs until every sender of its inbox is gone.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_INPUTS_MAX);
        let mut effects = Vec::new();
        let mut proposals = Proposals::new();
        let mut last_request = 0;
        loop {
            self.carry_out(&mut effects, &mut proposals).await;
            let wake = self.member.deadline().unwrap_or(model::Instant(u64::MAX));
            tokio::select! {
                biased;
                count = self.inbox.recv_many(&mut batch, BATCH_INPUTS_MAX) => if count == 0 { return },
                () = tokio::time::sleep_until(self.clock.timer(wake)) => {}
            }
            let now = self.clock.now();
            if self.member.deadline().is_some_and(|at| at <= now.monotonic) {
                self.member.step(now, Input::Wake, &mut effects);
            }
            for input in batch.drain(..) {
                let input = match input {
                    MemberInput::Message { from, message } => Input::Message { from, message },
                    MemberInput::Stored { op, result } => {
                        Input::Stored { op, result: result.map_err(|error| error.to_string()) }
                    }
                    MemberInput::Propose { reply, .. } if proposals.len() >= PROPOSALS_MAX => {
                        let error = RequestError::Overloaded("too many schema changes wait".to_owned());
                        let _ = reply.send(Err(error));
                        continue;
                    }
                    MemberInput::Propose { change, reply } => {
                        last_request += 1;
                        proposals.insert(last_request, reply);
                        Input::Propose { request: last_request, change }
                    }
                    MemberInput::Unreachable(address) => Input::Unreachable(address),
                    MemberInput::CatchUp { from, epoch } => Input::CatchUp { from, epoch },
                    MemberInput::Done(since) => Input::Done(since),
                    MemberInput::Status(reply) => {
                        let _ = reply.send(self.member.status());
                        continue;
                    }
                    MemberInput::Log { entries, reply } => {
                        let _ = reply.send(self.member.log_status(entries));
                        continue;
                    }
                };
                self.member.step(now, input, &mut effects);
            }
        }
    }

    async fn carry_out(&mut self, effects: &mut Vec<Effect>, proposals: &mut Proposals) {
        // Answers go last: the view that a change has made may stand behind its answer.
        let mut answers = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { to, message } => self.parts.peers.send_control(to, message),
                Effect::Store { op, write } => self.writes.push_member(op, write),
                Effect::View(view) => self.publish(view).await,
                Effect::Alive(alive) => {
                    self.parts.published.alive.store(alive.clone());
                    self.parts.published.changed.send_replace(());
                    self.tell_shards(|| ShardInput::Alive(alive.clone())).await;
                }
                Effect::Decided { request, result } => answers.push((request, result)),
                Effect::Fatal(error) => {
                    let data = self.parts.config.data_dir.display();
                    stop_process(exit_of(&error), &format!("data directory {data}: {error}"));
                }
            }
        }
        for (request, result) in answers {
            if let Some(reply) = proposals.remove(&request) {
                // A client that is gone does not undo the decision.
                let _ = reply.send(result);
            }
        }
    }

    async fn publish(&self, view: Arc<ClusterView>) {
        let tables: Vec<_> = view.schema.tables().values().cloned().collect();
        let (store, cluster, former) = (self.parts.store.clone(), view.cluster_id, view.former_cluster_ids.clone());
        // Creating a table writes files: the other tasks of this thread must not wait for it.
        let prepared = tokio::task::spawn_blocking(move || {
            store.set_cluster(cluster, &former)?;
            store.set_tables(&tables)
        });
        match prepared.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let message = format!("storage cannot take over the schema of epoch {}: {error}", view.epoch.0);
                stop_process(Exit::Failure, &message);
            }
            // The runtime is being shut down.
            Err(_) => return,
        }
        *self.parts.peers.local.cluster_id.lock() = Some(view.cluster_id);
        self.parts.published.view.store(view.clone());
        self.parts.published.changed.send_replace(());
        self.tell_shards(|| ShardInput::View(view.clone())).await;
        self.parts.peers.retain(&view);
        if !self.parts.published.joined.send_replace(true) {
            tracing::info!(cluster = %NodeId(view.cluster_id), epoch = view.epoch.0, "joined");
        }
        tracing::debug!(epoch = view.epoch.0, members = view.members.len(), "view published");
    }

    async fn tell_shards(&self, input: impl Fn() -> ShardInput) {
        for shard in &self.parts.shards {
            // A loop that is gone needs no view.
            let _ = shard.send(input()).await;
        }
    }
}

/// What the operator has to look at.
pub(crate) fn exit_of(error: &MemberError) -> Exit {
    match error {
        MemberError::Config(_) | MemberError::SettingChanged { .. } => Exit::Usage,
        MemberError::OtherCluster { .. }
        | MemberError::UnknownData
        | MemberError::Removed { .. }
        | MemberError::LeftBehind { .. }
        | MemberError::RecoveredInVain { .. }
        | MemberError::NotRecoverable(_)
        | MemberError::Corrupt(_) => Exit::DataDirectory,
        MemberError::JoinRefused { .. } | MemberError::Storage(_) => Exit::Failure,
    }
}
