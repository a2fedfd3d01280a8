//! SELECT, and the relations of WHERE and IF.

use super::Parser;
use crate::ast::{
    Comparand, IndexHints, Name, Operator, Ordering, Relation, Select, Selector, Subject, Term, TermKind,
};
use crate::lexer::TokenKind;
use crate::source::Position;
use model::RequestError;
use model::limits::{INDEXES_MAX, NESTING_MAX};

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Result<Select, RequestError> {
        let json = self.selection_modifier("JSON");
        let distinct = self.selection_modifier("DISTINCT");
        let mut selectors = Vec::new();
        if !self.eat_symbol("*") {
            selectors.push(self.selector()?);
            while self.eat_symbol(",") {
                selectors.push(self.selector()?);
            }
        }
        self.expect_word("FROM")?;
        if self.looking_at(&["MUTATION_FRAGMENTS"]) && self.is_followed_by("(") {
            return Err(self.not_in_grammar("MUTATION_FRAGMENTS is"));
        }
        if self.symbol() == Some("(") {
            return Err(self.not_in_grammar("a query within a query is"));
        }
        let table = self.table_name()?;
        self.refuse_clauses_of_others()?;
        let relations = if self.eat_word("WHERE") { self.relations()? } else { Vec::new() };
        let mut group_by = Vec::new();
        if self.eat_word("GROUP") {
            self.expect_word("BY")?;
            group_by.push(self.selection()?);
            while self.eat_symbol(",") {
                group_by.push(self.selection()?);
            }
        }
        let mut order = Vec::new();
        if self.eat_word("ORDER") {
            self.expect_word("BY")?;
            order.push(self.ordering()?);
            while self.eat_symbol(",") {
                order.push(self.ordering()?);
            }
        }
        let mut per_partition_limit = None;
        if self.eat_word("PER") {
            self.expect_word("PARTITION")?;
            self.expect_word("LIMIT")?;
            per_partition_limit = Some(self.integer_term()?);
        }
        let limit = if self.eat_word("LIMIT") { Some(self.integer_term()?) } else { None };
        let allow_filtering = self.eat_word("ALLOW");
        if allow_filtering {
            self.expect_word("FILTERING")?;
        }
        let bypass_cache = self.bypass_cache()?;
        let timeout = self.timeout()?;
        let hints = if self.eat_word("WITH") { self.index_hints()? } else { IndexHints::default() };
        Ok(Select {
            json,
            distinct,
            selectors,
            table,
            relations,
            group_by,
            order,
            per_partition_limit,
            limit,
            allow_filtering,
            bypass_cache,
            timeout,
            hints,
        })
    }

    /// `BYPASS CACHE`: where it stands.
    fn bypass_cache(&mut self) -> Result<Option<Position>, RequestError> {
        let at = self.here();
        if !self.eat_word("BYPASS") {
            return Ok(None);
        }
        self.expect_word("CACHE")?;
        Ok(Some(at))
    }

    /// `USING TIMEOUT`.
    fn timeout(&mut self) -> Result<Option<Term>, RequestError> {
        if !self.eat_word("USING") {
            return Ok(None);
        }
        self.expect_word("TIMEOUT")?;
        self.term().map(Some)
    }

    /// Refuses by its name what other languages have behind the name of a table.
    fn refuse_clauses_of_others(&self) -> Result<(), RequestError> {
        const CLAUSES: [(&[&str], &str); 4] = [
            (&["JOIN"], "JOIN is"),
            (&["AS", "OF"], "AS OF, a read of the past, is"),
            (&["HAVING"], "HAVING is"),
            (&["OFFSET"], "OFFSET is"),
        ];
        match CLAUSES.iter().find(|(words, _)| self.looking_at(words)) {
            Some((_, clause)) => Err(self.not_in_grammar(clause)),
            None => Ok(()),
        }
    }

    /// What follows WITH in SELECT.
    fn index_hints(&mut self) -> Result<IndexHints, RequestError> {
        let (mut included, mut excluded) = (None, None);
        loop {
            let at = self.here();
            let (slot, name) = if self.eat_word("included_indexes") {
                (&mut included, "included_indexes")
            } else if self.eat_word("excluded_indexes") {
                (&mut excluded, "excluded_indexes")
            } else {
                return Err(self.unexpected());
            };
            if slot.is_some() {
                return Err(self.source.syntax(at, format!("Multiple definitions for property '{name}'")));
            }
            self.expect_symbol("=")?;
            let at = self.here();
            self.expect_symbol("{")?;
            let mut names = Vec::new();
            while !self.eat_symbol("}") {
                if !names.is_empty() {
                    self.expect_symbol(",")?;
                }
                if self.token.kind == TokenKind::String {
                    let message = format!("Invalid value for property '{name}'. It should be a set of identifiers.");
                    return Err(self.source.syntax(at, message));
                }
                if names.len() == INDEXES_MAX {
                    let message = format!("A table can have {INDEXES_MAX} indexes at most");
                    return Err(self.source.invalid(self.here(), message));
                }
                names.push(self.qualified_name("an index name")?);
            }
            *slot = Some(names);
            if !self.eat_word("AND") {
                let (included, excluded) = (included.unwrap_or_default(), excluded.unwrap_or_default());
                return Ok(IndexHints { included, excluded });
            }
        }
    }

    /// Takes `JSON` or `DISTINCT`, unless it is the name of the first column: where it stands.
    fn selection_modifier(&mut self, word: &'static str) -> Option<Position> {
        let at = self.here();
        let following = self.following();
        let modifies = match following.kind {
            TokenKind::Word => {
                let text = self.source.slice(following.start, following.end);
                !text.eq_ignore_ascii_case("FROM") && !text.eq_ignore_ascii_case("AS")
            }
            TokenKind::Symbol("*") => self.is_followed_by_symbol_and_from(),
            // As in Cassandra this is no element, difference or call.
            TokenKind::Symbol("[" | "-" | "(" | "{" | "?" | ":") => true,
            TokenKind::Symbol(_) | TokenKind::End | TokenKind::Bad(_) => false,
            _ => true,
        };
        let found = modifies && self.looking_at(&[word]);
        if found {
            self.advance();
        }
        found.then_some(at)
    }

    /// True when behind the current token stand a symbol and FROM: `JSON * FROM`.
    fn is_followed_by_symbol_and_from(&self) -> bool {
        let mut ahead = self.lexer;
        ahead.next_token();
        let behind = ahead.next_token();
        behind.kind == TokenKind::Word && self.source.slice(behind.start, behind.end).eq_ignore_ascii_case("FROM")
    }

    fn selector(&mut self) -> Result<Selector, RequestError> {
        let term = self.selection()?;
        let alias = if self.eat_word("AS") { Some(self.name("an alias")?) } else { None };
        Ok(Selector { term, alias })
    }

    fn ordering(&mut self) -> Result<Ordering, RequestError> {
        let column = self.name("a column name")?;
        let mut nearest_to = None;
        if self.looking_at(&["ANN", "OF"]) {
            self.advance();
            self.advance();
            nearest_to = Some(self.term()?);
        }
        Ok(Ordering { column, nearest_to, descending: self.direction().unwrap_or(false) })
    }

    /// What follows WHERE.
    pub(super) fn relations(&mut self) -> Result<Vec<Relation>, RequestError> {
        let mut relations = vec![self.relation(1)?];
        while self.eat_word("AND") {
            relations.push(self.relation(1)?);
        }
        if self.looking_at(&["OR"]) {
            return Err(self.unsupported("OR is"));
        }
        Ok(relations)
    }

    fn relation(&mut self, depth: usize) -> Result<Relation, RequestError> {
        if self.looking_at(&["EXPR"]) && self.is_followed_by("(") {
            return Err(self.unsupported("custom index expressions are"));
        }
        if self.symbol() == Some("(") && !self.is_tuple_of_names() {
            if depth > NESTING_MAX {
                let message = format!("a relation may not stand in more than {NESTING_MAX} parentheses");
                return Err(self.source.invalid(self.here(), message));
            }
            self.advance();
            let relation = self.relation(depth + 1)?;
            self.expect_symbol(")")?;
            return Ok(relation);
        }
        let subject = self.subject()?;
        let at = self.here();
        let (operator, ahead) = (self.operator()?, self.symbol());
        // Several columns are compared with tuples, or markers of tuples, and tokens with one value.
        let is_order = matches!(
            operator,
            Operator::Equal
                | Operator::Less
                | Operator::LessOrEqual
                | Operator::Greater
                | Operator::GreaterOrEqual
                | Operator::Between
        );
        let fits = match &subject {
            Subject::Columns(_) => (is_order || operator == Operator::In) && matches!(ahead, Some("(" | "?" | ":")),
            Subject::Token(_) => is_order,
            _ => true,
        };
        if !fits {
            self.expected.push("a tuple");
            return Err(self.unexpected());
        }
        let is_tuple = matches!(subject, Subject::Columns(_));
        let relation = self.compared(subject, operator, at)?;
        if let (true, Operator::In, Comparand::Many(terms)) = (is_tuple, operator, &relation.comparand) {
            let others = |term: &&Term| !matches!(term.kind, TermKind::Tuple(_) | TermKind::Marker { .. });
            if let Some(other) = terms.iter().find(others) {
                return Err(self.source.syntax(other.at, "expected a tuple of values or a bind marker"));
            }
        }
        Ok(relation)
    }

    /// True when the parenthesis in hand begins `(name, ...)` or `(name)`.
    fn is_tuple_of_names(&self) -> bool {
        let mut ahead = self.lexer;
        let (name, behind) = (ahead.next_token(), ahead.next_token());
        matches!(name.kind, TokenKind::Word | TokenKind::QuotedName)
            && matches!(behind.kind, TokenKind::Symbol("," | ")"))
    }

    fn subject(&mut self) -> Result<Subject, RequestError> {
        if self.symbol() == Some("(") {
            return Ok(Subject::Columns(self.names_in_parentheses("a column name")?));
        }
        if self.looking_at(&["TOKEN"]) && self.is_followed_by("(") {
            self.advance();
            return Ok(Subject::Token(self.names_in_parentheses("a column name")?));
        }
        let column = self.name("a column name")?;
        // Fields are selected, and conditions of IF, but restrict nothing.
        if self.symbol() == Some(".") { Err(self.unexpected()) } else { self.part_of_column(column) }
    }

    /// The column, or the element or field of it that is named behind it.
    pub(super) fn part_of_column(&mut self, column: Name) -> Result<Subject, RequestError> {
        match self.symbol() {
            Some("[") => {
                self.advance();
                let key = self.term()?;
                self.expect_symbol("]")?;
                Ok(Subject::Element { column, key })
            }
            Some(".") => {
                self.advance();
                Ok(Subject::Field { column, field: self.name("the name of a field")? })
            }
            _ => Ok(Subject::Column(column)),
        }
    }

    /// The operator, and what stands behind it.
    pub(super) fn comparison(&mut self, subject: Subject) -> Result<Relation, RequestError> {
        let at = self.here();
        let operator = self.operator()?;
        self.compared(subject, operator, at)
    }

    fn compared(&mut self, subject: Subject, operator: Operator, at: Position) -> Result<Relation, RequestError> {
        let comparand = match operator {
            Operator::IsNull | Operator::IsNotNull => Comparand::Nothing,
            Operator::In | Operator::NotIn => self.in_values()?,
            Operator::Between => {
                let first = self.term()?;
                self.expect_word("AND")?;
                Comparand::Many(vec![first, self.term()?])
            }
            _ => Comparand::One(self.term()?),
        };
        Ok(Relation { subject, operator, comparand, at })
    }

    /// What follows IN: a marker for all values, or values in parentheses.
    fn in_values(&mut self) -> Result<Comparand, RequestError> {
        if matches!(self.symbol(), Some("?" | ":")) {
            return Ok(Comparand::One(self.term()?));
        }
        if !self.eat_symbol("(") {
            self.expected.push("a bind marker");
            return Err(self.unexpected());
        }
        Ok(Comparand::Many(self.terms_until(")")?))
    }

    pub(super) fn operator(&mut self) -> Result<Operator, RequestError> {
        let symbols = [
            Operator::Equal,
            Operator::Less,
            Operator::LessOrEqual,
            Operator::Greater,
            Operator::GreaterOrEqual,
            Operator::NotEqual,
        ];
        for operator in symbols {
            if self.eat_symbol(operator.symbol()) {
                return Ok(operator);
            }
        }
        let words: [(&[&str], Operator); 10] = [
            (&["IN"], Operator::In),
            (&["NOT", "IN"], Operator::NotIn),
            (&["CONTAINS", "KEY"], Operator::ContainsKey),
            (&["CONTAINS"], Operator::Contains),
            (&["NOT", "CONTAINS", "KEY"], Operator::NotContainsKey),
            (&["NOT", "CONTAINS"], Operator::NotContains),
            (&["LIKE"], Operator::Like),
            (&["BETWEEN"], Operator::Between),
            (&["IS", "NOT", "NULL"], Operator::IsNotNull),
            (&["IS", "NULL"], Operator::IsNull),
        ];
        if let Some((words, operator)) = words.into_iter().find(|(words, _)| self.looking_at(words)) {
            for _ in words {
                self.advance();
            }
            return Ok(operator);
        }
        self.expected.extend(["IN", "CONTAINS", "LIKE", "IS NOT NULL"]);
        Err(self.unexpected())
    }
}
