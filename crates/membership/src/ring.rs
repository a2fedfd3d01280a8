//! The ring of tokens: who owns which range, and which tokens a new node gets.
//!
//! Allocation is a pure function of the ring, so that it can be checked and repeated. A new node takes its
//! fair share from the nodes that own the most, out of their widest ranges.

use crate::log::MemberInfo;
use model::{NodeId, Token};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// All tokens of some members, ascending, with their owners.
#[must_use]
pub fn ring_of<'a>(members: impl Iterator<Item = &'a MemberInfo>) -> Vec<(Token, NodeId)> {
    let mut ring: Vec<(Token, NodeId)> =
        members.flat_map(|member| member.tokens.iter().map(|token| (*token, member.id))).collect();
    ring.sort_unstable();
    ring
}

/// The number of tokens in the range that ends at `ring[index]`.
#[must_use]
pub fn width(ring: &[(Token, NodeId)], index: usize) -> u128 {
    let previous = if index == 0 { ring.len() - 1 } else { index - 1 };
    let width = (ring[index].0.0 as u64).wrapping_sub(ring[previous].0.0 as u64);
    if width == 0 { 1 << 64 } else { u128::from(width) }
}

/// How many of the 2^64 tokens each node owns as first replica.
#[must_use]
pub fn ownership(ring: &[(Token, NodeId)]) -> BTreeMap<NodeId, u128> {
    let mut owned = BTreeMap::new();
    for (index, (_, node)) in ring.iter().enumerate() {
        *owned.entry(*node).or_insert(0) += width(ring, index);
    }
    owned
}

/// Replicas that allocation balances for, besides first replicas: the usual replication factor.
const FACTOR: usize = 3;

/// Ranges looked at for each token.
const CANDIDATES: usize = 32;

/// `count` tokens for a node that joins the nodes of `own_ring`, none of them in `whole_ring`; both are
/// sorted, and `whole_ring` includes the other data centres. Ascending.
#[must_use]
pub fn allocate(own_ring: &[(Token, NodeId)], whole_ring: &[(Token, NodeId)], count: u32) -> Vec<Token> {
    let mut taken: Vec<Token> = whole_ring.iter().map(|(token, _)| *token).collect();
    let mut tokens = Vec::new();
    if own_ring.is_empty() {
        let step = (1u128 << 64) / u128::from(count.max(1));
        for index in 0..u128::from(count) {
            let offset = (index * step + step / 2) as u64;
            tokens.push(reserve(&mut taken, Token((offset ^ (1 << 63)) as i64)));
        }
    } else {
        let mut plan = Plan::new(own_ring);
        for index in 0..count {
            let token = plan.next(count - index).unwrap_or(Token(0));
            let token = reserve(&mut taken, token);
            plan.place(token);
            tokens.push(token);
        }
    }
    tokens.sort_unstable();
    tokens
}

/// A ring in the course of an allocation. Owners are small numbers, the new node's the highest; shares are
/// in units of 2^24 tokens, so that their squares add up within 128 bits.
struct Plan {
    ring: Vec<(Token, usize)>,
    newcomer: usize,
}

impl Plan {
    fn new(own_ring: &[(Token, NodeId)]) -> Plan {
        let owners: BTreeMap<NodeId, usize> = {
            let distinct: BTreeSet<NodeId> = own_ring.iter().map(|(_, node)| *node).collect();
            distinct.into_iter().enumerate().map(|(index, node)| (node, index)).collect()
        };
        let ring = own_ring.iter().map(|(token, node)| (*token, owners[node])).collect();
        Plan { ring, newcomer: owners.len() }
    }

    fn place(&mut self, token: Token) {
        let at = self.ring.partition_point(|(known, _)| *known < token);
        self.ring.insert(at, (token, self.newcomer));
    }

    /// The best place for the next of `remaining` tokens. Of the nodes that own the most, one after the
    /// other, the widest ranges are tried, cut at several places; the best cut is the one after which the
    /// shares of all nodes, of first and of [`FACTOR`] replicas, are nearest to fair.
    fn next(&self, remaining: u32) -> Option<Token> {
        let fair = SPACE / (self.newcomer as u64 + 1);
        let (first, all) = (self.shares(1), self.shares(FACTOR));
        let piece = fair.saturating_sub(first[self.newcomer]) / u64::from(remaining);
        let goals =
            Goals { fair, replicas: FACTOR.min(self.newcomer + 1) as u64, to_come: piece * (remaining as u64 - 1) };
        let mut widest: Vec<(u64, usize)> = vec![(0, 0); self.newcomer];
        for (index, (_, owner)) in self.ring.iter().enumerate().filter(|(_, (_, owner))| *owner < self.newcomer) {
            widest[*owner] = widest[*owner].max((self.width(index), index));
        }
        let mut donors: Vec<usize> = (0..self.newcomer).collect();
        donors.sort_by_key(|owner| (Reverse(first[*owner]), *owner));
        let mut best: Option<(i128, Token)> = None;
        for (width, index) in donors.into_iter().take(CANDIDATES).map(|owner| widest[owner]) {
            for cut in [piece / 2, piece, piece * 3 / 2, width / 2] {
                let cut = cut.min(width * 7 / 8);
                if cut == 0 {
                    continue;
                }
                let mut unfairness = 0;
                for (owner, (first_gain, all_gain)) in self.gains(index, cut) {
                    let goals = goals.of(owner == self.newcomer);
                    unfairness += worse(first[owner], first_gain, goals.0) * WEIGHT_OF_FIRST;
                    unfairness += worse(all[owner], all_gain, goals.1);
                }
                let start = (self.ring[index].0.0 as u64).wrapping_sub(width << SHIFT);
                let token = Token(start.wrapping_add(cut << SHIFT) as i64);
                if best.is_none_or(|(least, _)| unfairness < least) {
                    best = Some((unfairness, token));
                }
            }
        }
        best.map(|(_, token)| token)
    }

    /// What each node gains, of first and of all replicas, when the new one takes the first `cut` tokens of
    /// the range that ends at `ring[index]`.
    fn gains(&self, index: usize, cut: u64) -> BTreeMap<usize, (i64, i64)> {
        let mut gains: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
        let mut add = |owner: usize, first: i64, all: i64| {
            let gain = gains.entry(owner).or_default();
            *gain = (gain.0 + first, gain.1 + all);
        };
        add(self.ring[index].1, -(cut as i64), 0);
        add(self.newcomer, cut as i64, 0);
        // The new token becomes a replica of its own range and of those before it, as far back as fewer than
        // `FACTOR` others lie between; whoever was the last replica there is it no more.
        let mut between: Vec<usize> = Vec::with_capacity(FACTOR);
        let (mut at, mut width, mut round) = (index, cut, false);
        loop {
            let replicas = self.replicas(at, FACTOR);
            if !replicas.contains(&self.newcomer) {
                add(self.newcomer, 0, width as i64);
                if let Some(last) = replicas.get(FACTOR - 1) {
                    add(*last, 0, -(width as i64));
                }
            }
            if round {
                break;
            }
            at = if at == 0 { self.ring.len() - 1 } else { at - 1 };
            // All the way round, what is left of the range that was cut comes last.
            round = at == index;
            width = if round { self.width(at) - cut } else { self.width(at) };
            let owner = self.ring[at].1;
            if !between.contains(&owner) {
                between.push(owner);
            }
            if between.len() == FACTOR || owner == self.newcomer {
                break;
            }
        }
        gains
    }

    /// The distinct owners from `ring[index]` on, up to `factor`.
    fn replicas(&self, index: usize, factor: usize) -> Vec<usize> {
        let mut replicas: Vec<usize> = Vec::with_capacity(factor);
        for (_, owner) in self.ring[index..].iter().chain(&self.ring[..index]) {
            if !replicas.contains(owner) {
                replicas.push(*owner);
                if replicas.len() == factor {
                    break;
                }
            }
        }
        replicas
    }

    /// The shares of all owners when each range has up to `factor` replicas.
    fn shares(&self, factor: usize) -> Vec<u64> {
        let mut shares = vec![0; self.newcomer + 1];
        for index in 0..self.ring.len() {
            let width = self.width(index);
            for owner in self.replicas(index, factor) {
                shares[owner] += width;
            }
        }
        shares
    }

    fn width(&self, index: usize) -> u64 {
        let previous = if index == 0 { self.ring.len() - 1 } else { index - 1 };
        let width = (self.ring[index].0.0 as u64).wrapping_sub(self.ring[previous].0.0 as u64);
        if self.ring.len() == 1 { SPACE } else { width >> SHIFT }
    }
}

/// Shares to aim at.
#[derive(Clone, Copy)]
struct Goals {
    fair: u64,
    replicas: u64,
    /// What the new node will get by its further tokens.
    to_come: u64,
}

impl Goals {
    /// Of first and of all replicas.
    fn of(self, newcomer: bool) -> (u64, u64) {
        let fair = if newcomer { self.fair.saturating_sub(self.to_come) } else { self.fair };
        (fair, fair * self.replicas)
    }
}

/// By how much the squared distance of a share from its goal grows.
fn worse(share: u64, gain: i64, goal: u64) -> i128 {
    let square = |share: u64| i128::from(share.abs_diff(goal)).pow(2);
    square(share.saturating_add_signed(gain)) - square(share)
}

/// The share of first replicas is smaller, and counts as much.
const WEIGHT_OF_FIRST: i128 = (FACTOR * FACTOR) as i128;

/// Bits by which shares are coarser than tokens.
const SHIFT: u32 = 24;

/// All tokens.
const SPACE: u64 = 1 << (64 - SHIFT);

/// The first token not taken, from `token` upwards; it is taken then. `Token::MINIMUM` is never given.
fn reserve(taken: &mut Vec<Token>, mut token: Token) -> Token {
    loop {
        match taken.binary_search(&token) {
            Err(at) if token != Token::MINIMUM => {
                taken.insert(at, token);
                return token;
            }
            _ => token = Token(token.0.wrapping_add(1)),
        }
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod ring_tests;
