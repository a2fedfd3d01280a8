//! Planted bugs: mutations of the production code that a test switches on to see that an oracle catches
//! them. Each is asked for at the place where the rule that it breaks lives. Without the feature `planted` of
//! the crate that asks, the question is the constant `false` and costs nothing.

/// Makes the bugs of a table by protocol, each with what it breaks.
macro_rules! planted {
    ($($protocol:literal { $($name:ident: $breaks:literal,)+ })+) => {
        /// A rule to break.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Planted {
            $($(#[doc = $breaks] $name,)+)+
        }

        impl Planted {
            /// Every planted bug.
            pub const ALL: [Planted; [$($(stringify!($name),)+)+].len()] = [$($(Planted::$name,)+)+];

            /// What it does.
            #[must_use]
            pub const fn breaks(self) -> &'static str {
                match self {
                    $($(Planted::$name => $breaks,)+)+
                }
            }

            /// The protocol that it breaks.
            #[must_use]
            pub const fn protocol(self) -> &'static str {
                match self {
                    $($(Planted::$name => $protocol,)+)+
                }
            }
        }
    };
}

planted! {
    "coordinator" {
        QuorumMinusOne: "QUORUM asks for one replica less than a quorum.",
        LocalCountsRemote: "A level of the local data centre counts replicas anywhere.",
        EachCountsTogether: "EACH_QUORUM counts the replicas of all data centres together.",
        ForwarderCountsForAll: "The acknowledgement of a replica that forwards counts for those behind it.",
        AnswerCountedTwice: "The doubled acknowledgement of one replica counts for another.",
        RefusalCounted: "A replica that refuses a write counts as one that has it.",
        HintCounts: "A hint counts as an acknowledgement at every level.",
        AcknowledgeBeforeSync: "A replica acknowledges a write before storage has synced it.",
    }
    "views" {
        StaleEpochAccepted: "A replica executes what a sender with an older view asks, owned or not.",
    }
    "reads" {
        DigestIgnored: "Digests that differ are taken for equal.",
        DigestTruncated: "Of digests only the lowest two bits are compared.",
        DigestsUnawaited: "A read is answered with the data of one replica before the digests of the others have come.",
        PartitionCoverageIgnored: "A read takes rows where the limited answer of another replica had ended.",
        ReversedDropsDeletions: "A read in reverse order merges rows without the deletions of ranges.",
        PageRepeatsRow: "A page goes on before the row with which the one before ended.",
        CoverageIgnored: "A scan takes rows of one replica where the page of another had already ended.",
        RangeDropped: "A page of a scan that goes on within a range goes on behind it.",
        CandidatesOfOne: "Of the answers of several replicas to a look-up in an index only the first counts.",
    }
    "read repair" {
        ReadRepairSkipped: "A read whose replicas differ is answered without repairing them.",
        RepairUnawaited: "A read whose replicas differ is answered before the repairs of them are acknowledged.",
        RepairOfOne: "Of the replicas that a read found to lack something one is repaired.",
        ReadRepairKeepsDeletions: "A read repairs rows, and no deletions of partitions or ranges of rows.",
        RangeRepairSkipped: "A scan whose replicas differ is answered without repairing them.",
    }
    "hints" {
        HintDropped: "No hint is written for a replica that missed a write.",
        MissedUnhinted: "A replica that does not answer in time gets no hint.",
        HintForgottenUnacknowledged: "A hint is forgotten once it is sent.",
        HintPageForgotten: "Of a delivery that fails all hints are forgotten.",
    }
    "repair" {
        RepairSkipsReplica: "A repair leaves a replica out, and records the range as repaired.",
        RepairEndsEarly: "A repair ends with its first page, and records the range as repaired.",
        RepairKeepsDeletions: "A repair sends rows, and no deletions of partitions or ranges of rows.",
        RepairSkipsBucket: "A repair does not look at what differs in the last bucket of a page.",
        RepairLeavesUnit: "A repair leaves the last range out, and says that it has succeeded.",
    }
    "tombstones" {
        GraceIgnored: "A sweep takes every deletion for garbage, as if there were no grace.",
        PurgedUnrepaired: "A sweep takes for garbage whatever is older than the grace, repaired or not.",
    }
    "metadata log" {
        SchemaAcknowledgedEarly: "A schema change is acknowledged before a majority of the members has applied it.",
        LogChosenByOneLess: "An entry of the metadata log counts as decided with one voter less than a majority.",
        LogAcceptedUnsynced: "A voter of the metadata log answers before it has synced what it promised or accepted.",
        LogAcceptedIsDecided: "A voter takes an entry of the metadata log that it has accepted for decided.",
        LogAdoptionIgnored: "A proposer of the metadata log puts its own entry in place of one that was accepted.",
        CatchUpSkipped: "A node that hears of a later epoch does not fetch what it lacks.",
        VotersByLiveness: "A majority of the voters that a proposer takes for alive decides the metadata log.",
    }
    "recovery" {
        FormerClusterHeard: "A node of a recovered cluster listens to those that the recovery left behind.",
        RecoveryFollowedFromBeyond: "A node follows a recovery at a slot where its own log holds something else.",
    }
    "replication changes" {
        OldPlacementWritten: "While replication is changed writes go to the placement alone that is read from.",
        SwitchedUncopied: "A node says that it holds what is copied to it, and does not.",
        LeftoversKept: "A node keeps what it holds no more after a change of replication.",
    }
    "gossip" {
        RevivedNever: "What is heard of a node that is taken for dead changes nothing.",
    }
    "transactions" {
        InProgressIgnored: "A transaction passes over a change that is in progress.",
        StaleCommitTrusted: "A transaction decides by replicas that lack the last change.",
        ChosenByOneLess: "A change counts as chosen with one acceptor less than a quorum.",
        AcceptedUnsynced: "An acceptor accepts before it has synced that.",
        PreemptionDenied: "A transaction that another one preempted says that its change was not applied.",
    }
    "counters" {
        TicketUsedTwice: "A ticket to count is good for more than one message.",
        CountedBeforeSync: "Shards of counters are told of, and counted on from, before they are synced.",
    }
    "retry tokens" {
        OutcomeNotAsked: "A replica does not say what the request with a retry token came to.",
        RefusalNotChosen: "The refusal of a request with a retry token is answered without being chosen.",
    }
    "batches" {
        BatchForgottenEarly: "A coordinator has a logged batch forgotten before it is written.",
        BatchNotReplayed: "Who keeps a batch does not write it.",
    }
}

impl Planted {
    /// Its name on the command line: `hint-dropped`.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bugs_are_named_as_words_with_hyphens() {
        assert_eq!(Planted::QuorumMinusOne.name(), "quorum-minus-one");
        assert_eq!(Planted::HintDropped.protocol(), "hints");
        assert!(Planted::ALL.iter().all(|bug| bug.breaks().ends_with('.')));
    }
}
