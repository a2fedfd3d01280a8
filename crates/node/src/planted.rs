//! Planted bugs: mutations of the production code that a test switches on to see that an oracle catches
//! them. Each is asked for at the place where the rule that it breaks lives. Without the feature `planted`
//! the question is the constant `false` and costs nothing.

use crate::config::ShardConfig;

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// QUORUM asks for one replica less than a quorum.
    QuorumMinusOne,
    /// A level of the local data centre counts replicas anywhere.
    LocalCountsRemote,
    /// EACH_QUORUM counts the replicas of all data centres together.
    EachCountsTogether,
    /// The acknowledgement of a replica that forwards a write counts for those that it forwards to.
    ForwarderCountsForAll,
    /// No hint is written for a replica that missed a write.
    HintDropped,
    /// A read whose replicas differ is answered without repairing them.
    ReadRepairSkipped,
    /// A replica acknowledges a write before storage has synced it.
    AcknowledgeBeforeSync,
    /// A replica executes what a sender with an older view asks of it, whether it owns the partition or not.
    StaleEpochAccepted,
    /// A sweep takes every deletion for garbage, as if there were no grace.
    GraceIgnored,
    /// A scan takes rows of one replica where the page of another had already ended.
    CoverageIgnored,
    /// A page of a scan that goes on within a range goes on behind it.
    RangeDropped,
    /// A scan whose replicas differ is answered without repairing them.
    RangeRepairSkipped,
    /// Of the answers of several replicas to a look-up in an index only the first counts.
    CandidatesOfOne,
    /// A transaction passes over a change that is in progress.
    InProgressIgnored,
    /// A transaction decides by replicas that lack the last change.
    StaleCommitTrusted,
    /// A change counts as chosen with one acceptor less than a quorum.
    ChosenByOneLess,
    /// An acceptor accepts before it has synced that.
    AcceptedUnsynced,
    /// A transaction that another one preempted says that its change was not applied.
    PreemptionDenied,
    /// A ticket to count is good for more than one message.
    TicketUsedTwice,
    /// A replica tells of the shards of counters, and goes on from what is stored, before storage has synced them.
    CountedBeforeSync,
    /// A replica does not say what the request with a retry token came to.
    OutcomeNotAsked,
    /// The refusal of a request with a retry token is answered without being chosen.
    RefusalNotChosen,
    /// A replica promises for a token whose outcome it may have forgotten.
    ForgottenTrusted,
    /// A coordinator has a logged batch forgotten before it is written.
    BatchForgottenEarly,
    /// Who keeps a batch does not write it.
    BatchNotReplayed,
    /// A repair leaves a replica out, and records the range as repaired.
    RepairSkipsReplica,
    /// A repair ends with its first page, and records the range as repaired.
    RepairEndsEarly,
    /// A repair sends rows, and no deletions of partitions or ranges of rows.
    RepairKeepsDeletions,
    /// A repair takes buckets for equal without looking at what differs in the last one of a page.
    RepairSkipsBucket,
    /// A sweep takes for garbage whatever is older than the grace, repaired or not.
    PurgedUnrepaired,
}

impl Planted {
    /// Every planted bug.
    pub const ALL: [Planted; 30] = [
        Planted::QuorumMinusOne,
        Planted::LocalCountsRemote,
        Planted::EachCountsTogether,
        Planted::ForwarderCountsForAll,
        Planted::HintDropped,
        Planted::ReadRepairSkipped,
        Planted::AcknowledgeBeforeSync,
        Planted::StaleEpochAccepted,
        Planted::GraceIgnored,
        Planted::CoverageIgnored,
        Planted::RangeDropped,
        Planted::RangeRepairSkipped,
        Planted::CandidatesOfOne,
        Planted::InProgressIgnored,
        Planted::StaleCommitTrusted,
        Planted::ChosenByOneLess,
        Planted::AcceptedUnsynced,
        Planted::PreemptionDenied,
        Planted::TicketUsedTwice,
        Planted::CountedBeforeSync,
        Planted::OutcomeNotAsked,
        Planted::RefusalNotChosen,
        Planted::ForgottenTrusted,
        Planted::BatchForgottenEarly,
        Planted::BatchNotReplayed,
        Planted::RepairSkipsReplica,
        Planted::RepairEndsEarly,
        Planted::RepairKeepsDeletions,
        Planted::RepairSkipsBucket,
        Planted::PurgedUnrepaired,
    ];
}

impl ShardConfig {
    /// True when `bug` is switched on.
    #[cfg(feature = "planted")]
    pub(crate) fn is_planted(&self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    /// No bug is switched on.
    #[cfg(not(feature = "planted"))]
    #[inline(always)]
    pub(crate) const fn is_planted(&self, _bug: Planted) -> bool {
        false
    }
}
