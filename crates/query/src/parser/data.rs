//! SELECT, INSERT, UPDATE and DELETE.

use super::Parser;
use crate::ast::{Delete, Insert, Name, Operator, Relation, Select, Selector, Statement, Term, Update, Using};
use crate::lexer::TokenKind;
use model::RequestError;

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Result<Statement, RequestError> {
        for (word, feature) in [("JSON", "SELECT JSON is"), ("DISTINCT", "SELECT DISTINCT is")] {
            if self.looking_at(&[word]) && self.is_selection_modifier() {
                return Err(self.unsupported(feature));
            }
        }
        let mut selectors = Vec::new();
        if !self.eat_symbol("*") {
            selectors.push(self.selector()?);
            while self.eat_symbol(",") {
                selectors.push(self.selector()?);
            }
        }
        self.expect_word("FROM")?;
        let table = self.table_name()?;
        let relations = if self.eat_word("WHERE") { self.relations()? } else { Vec::new() };
        if self.at_word("GROUP") {
            return Err(self.unsupported("GROUP BY is"));
        }
        let mut order = Vec::new();
        if self.eat_word("ORDER") {
            self.expect_word("BY")?;
            order.push(self.ordering()?);
            while self.eat_symbol(",") {
                order.push(self.ordering()?);
            }
        }
        if self.looking_at(&["PER", "PARTITION"]) {
            return Err(self.unsupported("PER PARTITION LIMIT is"));
        }
        let limit = if self.eat_word("LIMIT") { Some(self.integer_term()?) } else { None };
        // It changes nothing: what would need filtering is refused with and without it.
        if self.eat_word("ALLOW") {
            self.expect_word("FILTERING")?;
        }
        Ok(Statement::Select(Select { selectors, table, relations, order, limit }))
    }

    /// True when the word in hand, `JSON` or `DISTINCT`, is not the name of the first column.
    fn is_selection_modifier(&self) -> bool {
        let following = self.following();
        match following.kind {
            TokenKind::Word => {
                let text = self.source.slice(following.start, following.end);
                !text.eq_ignore_ascii_case("FROM") && !text.eq_ignore_ascii_case("AS")
            }
            TokenKind::Symbol("*") | TokenKind::QuotedName => true,
            _ => false,
        }
    }

    fn selector(&mut self) -> Result<Selector, RequestError> {
        match self.token.kind {
            TokenKind::Symbol("(" | "[" | "{") => {
                return Err(self.unsupported("tuples and collections in the SELECT clause are"));
            }
            TokenKind::Symbol("?" | ":" | "-")
            | TokenKind::String
            | TokenKind::Integer
            | TokenKind::Float
            | TokenKind::Duration
            | TokenKind::Uuid
            | TokenKind::Blob => return Err(self.unsupported("values in the SELECT clause are")),
            TokenKind::Word | TokenKind::QuotedName if self.is_followed_by("(") => {
                let name = self.text().to_ascii_lowercase();
                return Err(self.unsupported(&format!("function '{name}' is")));
            }
            _ => {}
        }
        let column = self.name("a column name")?;
        match self.symbol() {
            Some(".") => return Err(self.unsupported("selecting a field of a user-defined type is")),
            Some("[") => return Err(self.unsupported("selecting an element of a collection is")),
            Some("+" | "-" | "*" | "/" | "%") => return Err(self.unsupported("arithmetic is")),
            _ => {}
        }
        let alias = if self.eat_word("AS") { Some(self.name("an alias")?) } else { None };
        Ok(Selector { column, alias })
    }

    fn ordering(&mut self) -> Result<(Name, bool), RequestError> {
        let column = self.name("a column name")?;
        if self.looking_at(&["ANN", "OF"]) {
            return Err(self.unsupported("ANN ordering is"));
        }
        Ok((column, self.direction().unwrap_or(false)))
    }

    pub(super) fn insert(&mut self) -> Result<Statement, RequestError> {
        self.expect_word("INTO")?;
        let table = self.table_name()?;
        if self.looking_at(&["JSON"]) {
            return Err(self.unsupported("INSERT JSON is"));
        }
        let columns = self.names_in_parentheses("a column name")?;
        self.expect_word("VALUES")?;
        self.expect_symbol("(")?;
        let mut values = vec![self.term()?];
        while self.eat_symbol(",") {
            values.push(self.term()?);
        }
        self.expect_symbol(")")?;
        self.refuse_condition()?;
        let using = self.using()?;
        self.refuse_condition()?;
        Ok(Statement::Insert(Insert { table, columns, values, using }))
    }

    pub(super) fn update(&mut self) -> Result<Statement, RequestError> {
        let table = self.table_name()?;
        let using = self.using()?;
        self.expect_word("SET")?;
        let mut assignments = vec![self.assignment()?];
        while self.eat_symbol(",") {
            assignments.push(self.assignment()?);
        }
        self.expect_word("WHERE")?;
        let relations = self.relations()?;
        self.refuse_condition()?;
        Ok(Statement::Update(Update { table, using, assignments, relations }))
    }

    fn assignment(&mut self) -> Result<(Name, Term), RequestError> {
        let column = self.name("a column name")?;
        match self.symbol() {
            Some("[") => return Err(self.unsupported("setting an element of a collection is")),
            Some(".") => return Err(self.unsupported("setting a field of a user-defined type is")),
            Some("+=" | "-=") => return Err(self.unsupported("arithmetic is")),
            _ => {}
        }
        self.expect_symbol("=")?;
        Ok((column, self.term()?))
    }

    pub(super) fn delete(&mut self) -> Result<Statement, RequestError> {
        let mut columns = Vec::new();
        if !self.at_word("FROM") {
            columns.push(self.deleted_column()?);
            while self.eat_symbol(",") {
                columns.push(self.deleted_column()?);
            }
        }
        self.expect_word("FROM")?;
        let table = self.table_name()?;
        let mut timestamp = None;
        if self.eat_word("USING") {
            self.expect_word("TIMESTAMP")?;
            timestamp = Some(self.integer_term()?);
        }
        self.expect_word("WHERE")?;
        let relations = self.relations()?;
        self.refuse_condition()?;
        Ok(Statement::Delete(Delete { columns, table, timestamp, relations }))
    }

    fn deleted_column(&mut self) -> Result<Name, RequestError> {
        let column = self.name("a column name")?;
        match self.symbol() {
            Some("[") => Err(self.unsupported("deleting an element of a collection is")),
            Some(".") => Err(self.unsupported("deleting a field of a user-defined type is")),
            _ => Ok(column),
        }
    }

    fn refuse_condition(&mut self) -> Result<(), RequestError> {
        if self.at_word("IF") { Err(self.unsupported("conditional updates (IF) are")) } else { Ok(()) }
    }

    fn using(&mut self) -> Result<Using, RequestError> {
        let mut using = Using::default();
        if !self.eat_word("USING") {
            return Ok(using);
        }
        loop {
            let at = self.here();
            let (slot, name) = if self.eat_word("TTL") {
                (&mut using.time_to_live, "TTL")
            } else if self.eat_word("TIMESTAMP") {
                (&mut using.timestamp, "TIMESTAMP")
            } else {
                return Err(self.unexpected());
            };
            if slot.is_some() {
                return Err(self.source.invalid(at, format!("Multiple definitions for {name}")));
            }
            *slot = Some(self.integer_term()?);
            if !self.eat_word("AND") {
                return Ok(using);
            }
        }
    }

    fn relations(&mut self) -> Result<Vec<Relation>, RequestError> {
        let mut relations = vec![self.relation()?];
        while self.eat_word("AND") {
            relations.push(self.relation()?);
        }
        if self.looking_at(&["OR"]) {
            return Err(self.unsupported("OR is"));
        }
        Ok(relations)
    }

    fn relation(&mut self) -> Result<Relation, RequestError> {
        if self.symbol() == Some("(") {
            return Err(self.unsupported("multi-column restrictions and parentheses in WHERE are"));
        }
        if self.looking_at(&["TOKEN"]) && self.is_followed_by("(") {
            return Err(self.unsupported("TOKEN restrictions are"));
        }
        if self.looking_at(&["EXPR"]) && self.is_followed_by("(") {
            return Err(self.unsupported("custom index expressions are"));
        }
        let column = self.name("a column name")?;
        self.refuse_operator()?;
        let operators = [
            ("=", Operator::Equal),
            ("<", Operator::Less),
            ("<=", Operator::LessOrEqual),
            (">", Operator::Greater),
            (">=", Operator::GreaterOrEqual),
        ];
        for (symbol, operator) in operators {
            if self.eat_symbol(symbol) {
                return Ok(Relation { column, operator, term: self.term()? });
            }
        }
        Err(self.unexpected())
    }

    fn refuse_operator(&self) -> Result<(), RequestError> {
        match self.symbol() {
            Some("!=") => return Err(self.unsupported("!= restrictions are")),
            Some("[") => return Err(self.unsupported("restrictions on elements of collections are")),
            Some(".") => return Err(self.unsupported("restrictions on fields of user-defined types are")),
            _ => {}
        }
        let operators: [(&[&str], &str); 8] = [
            (&["IN"], "IN restrictions are"),
            (&["NOT", "IN"], "NOT IN restrictions are"),
            (&["CONTAINS", "KEY"], "CONTAINS KEY restrictions are"),
            (&["CONTAINS"], "CONTAINS restrictions are"),
            (&["NOT", "CONTAINS"], "NOT CONTAINS restrictions are"),
            (&["LIKE"], "LIKE restrictions are"),
            (&["BETWEEN"], "BETWEEN restrictions are"),
            (&["IS", "NOT"], "IS NOT NULL restrictions are"),
        ];
        match operators.iter().find(|(words, _)| self.looking_at(words)) {
            Some((_, feature)) => Err(self.unsupported(feature)),
            None => Ok(()),
        }
    }
}
