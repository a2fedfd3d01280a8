//! Something that is known of the tokens of a table, piece by piece, and kept in the node's own records.
//!
//! Invariant: pieces are disjoint.

use model::{Token, TokenRange};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A value for each token of some pieces of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenMap<T> {
    /// By the first token of a piece its last one, and the value.
    pieces: BTreeMap<Token, (Token, T)>,
}

/// A change of the piece that begins with a token: its last token and its value; `None` when no piece begins there
/// any more. Of several changes for one token the last one counts.
pub(crate) type PieceChange<T> = (Token, Option<(Token, T)>);

impl<T> Default for TokenMap<T> {
    fn default() -> TokenMap<T> {
        TokenMap { pieces: BTreeMap::new() }
    }
}

/// The tokens of a range as a piece.
#[must_use]
pub(crate) fn piece_of(range: TokenRange) -> RangeInclusive<Token> {
    // The range is not empty, so its start has a successor.
    Token(range.start.0 + 1)..=range.end
}

impl<T: Clone> TokenMap<T> {
    /// Adds a piece as it was recorded.
    pub(crate) fn insert_recorded(&mut self, first: Token, last: Token, value: T) {
        self.pieces.insert(first, (last, value));
    }

    /// The pieces in order.
    pub(crate) fn pieces(&self) -> impl DoubleEndedIterator<Item = (RangeInclusive<Token>, &T)> {
        self.pieces.iter().map(|(first, (last, value))| (*first..=*last, value))
    }

    /// The pieces that have a token in common with `tokens`, in order.
    pub(crate) fn overlapping(
        &self,
        tokens: &RangeInclusive<Token>,
    ) -> impl Iterator<Item = (RangeInclusive<Token>, &T)> {
        let start = *tokens.start();
        // Pieces are disjoint: of those that begin before only the last one can reach in.
        let before = self.pieces.range(..start).next_back();
        let inside = self.pieces.range(start..=*tokens.end());
        let all = before.into_iter().chain(inside).map(|(first, (last, value))| (*first..=*last, value));
        all.filter(move |(piece, _)| *piece.end() >= start)
    }

    /// Sets the value of some tokens. What has changed.
    pub(crate) fn put(&mut self, tokens: RangeInclusive<Token>, value: T) -> Vec<PieceChange<T>> {
        let (first, last) = tokens.clone().into_inner();
        let old: Vec<(Token, (Token, T))> =
            self.overlapping(&tokens).map(|(piece, value)| (*piece.start(), (*piece.end(), value.clone()))).collect();
        let mut changes = Vec::new();
        for (from, _) in &old {
            self.pieces.remove(from);
            changes.push((*from, None));
        }
        let mut set = |from: Token, piece: (Token, T)| {
            self.pieces.insert(from, piece.clone());
            changes.push((from, Some(piece)));
        };
        for (from, (to, value)) in old {
            if from < first {
                set(from, (Token(first.0 - 1), value.clone()));
            }
            if to > last {
                set(Token(last.0 + 1), (to, value));
            }
        }
        set(first, (last, value));
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Rng;

    #[test]
    fn the_last_value_put_for_a_token_is_there_and_changes_lead_to_the_same_map() {
        let mut rng = Rng::new(1);
        for _ in 0..200 {
            let (mut map, mut recorded) = (TokenMap::default(), BTreeMap::new());
            let mut naive: BTreeMap<i64, u64> = BTreeMap::new();
            for value in 0..10u64 {
                let (a, b) = (rng.below(20) as i64, rng.below(20) as i64);
                let (first, last) = (a.min(b), a.max(b));
                naive.extend((first..=last).map(|token| (token, value)));
                for (token, change) in map.put(Token(first)..=Token(last), value) {
                    match change {
                        Some(piece) => drop(recorded.insert(token, piece)),
                        None => drop(recorded.remove(&token)),
                    }
                }
                for token in 0..20i64 {
                    let found: Vec<u64> =
                        map.overlapping(&(Token(token)..=Token(token))).map(|(_, value)| *value).collect();
                    assert_eq!(found, naive.get(&token).copied().into_iter().collect::<Vec<_>>());
                }
                assert_eq!(map.pieces, recorded);
            }
        }
    }

    #[test]
    fn the_ends_of_the_ring_are_tokens_like_others() {
        let mut map = TokenMap::default();
        map.put(Token::MINIMUM..=Token(i64::MAX), 'a');
        map.put(Token(i64::MAX)..=Token(i64::MAX), 'b');
        map.put(Token::MINIMUM..=Token::MINIMUM, 'c');
        assert_eq!(map.pieces().map(|(_, value)| *value).collect::<String>(), "cab");
        assert_eq!(piece_of(TokenRange::ALL), Token(i64::MIN + 1)..=Token(i64::MAX));
    }
}
