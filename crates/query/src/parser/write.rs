//! INSERT, UPDATE, DELETE and BATCH.

use super::Parser;
use crate::ast::{
    Assignment, Batch, BatchKind, Condition, Delete, DeletedColumn, Insert, InsertedValues, Modification, Name,
    Operation, Relation, Subject, Term, TermKind, Update, Using,
};
use crate::lexer::TokenKind;
use crate::source::Position;
use model::RequestError;

impl Parser<'_> {
    /// INSERT, UPDATE or DELETE, if one begins here.
    pub(super) fn modification(&mut self) -> Result<Option<Modification>, RequestError> {
        Ok(if self.eat_word("INSERT") {
            Some(Modification::Insert(self.insert()?))
        } else if self.eat_word("UPDATE") {
            Some(Modification::Update(self.update()?))
        } else if self.eat_word("DELETE") {
            Some(Modification::Delete(self.delete()?))
        } else {
            None
        })
    }

    /// What follows BEGIN, at `at`.
    pub(super) fn batch(&mut self, at: Position) -> Result<Batch, RequestError> {
        let kind = if self.eat_word("UNLOGGED") {
            BatchKind::Unlogged
        } else if self.eat_word("COUNTER") {
            BatchKind::Counter
        } else {
            BatchKind::Logged
        };
        self.expect_word("BATCH")?;
        let using = self.using()?;
        let mut statements = Vec::new();
        loop {
            if let Some(statement) = self.modification()? {
                statements.push(statement);
                let _ = self.eat_symbol(";");
            } else if self.eat_word("APPLY") {
                self.expect_word("BATCH")?;
                return Ok(Batch { kind, using, statements, at });
            } else {
                return Err(self.unexpected());
            }
        }
    }

    fn insert(&mut self) -> Result<Insert, RequestError> {
        self.expect_word("INTO")?;
        let table = self.table_name()?;
        let values = if self.eat_word("JSON") { self.inserted_json()? } else { self.inserted_columns()? };
        let at = self.here();
        let if_not_exists = self.if_not_exists()?.then_some(at);
        let using = self.using()?;
        self.refuse_returning()?;
        Ok(Insert { table, values, if_not_exists, using })
    }

    fn inserted_columns(&mut self) -> Result<InsertedValues, RequestError> {
        let columns = self.names_in_parentheses("a column name")?;
        self.expect_word("VALUES")?;
        self.expect_symbol("(")?;
        let mut values = vec![self.term()?];
        while self.eat_symbol(",") {
            values.push(self.term()?);
        }
        self.expect_symbol(")")?;
        Ok(InsertedValues::Columns { columns, values })
    }

    fn inserted_json(&mut self) -> Result<InsertedValues, RequestError> {
        let at = self.here();
        let kind = if let Some(marker) = self.marker()? {
            marker
        } else if self.token.kind == TokenKind::String
            && let Some(literal) = self.literal()?
        {
            TermKind::Literal(literal)
        } else {
            self.expected.extend(["a string", "a bind marker"]);
            return Err(self.unexpected());
        };
        let mut default_unset = false;
        if self.eat_word("DEFAULT") {
            default_unset = self.eat_word("UNSET");
            if !default_unset {
                self.expect_word("NULL")?;
            }
        }
        Ok(InsertedValues::Json { value: Term { kind, at }, default_unset })
    }

    fn update(&mut self) -> Result<Update, RequestError> {
        let table = self.table_name()?;
        let using = self.using()?;
        self.expect_word("SET")?;
        let mut assignments = vec![self.assignment()?];
        while self.eat_symbol(",") {
            assignments.push(self.assignment()?);
        }
        self.expect_word("WHERE")?;
        let relations = self.relations()?;
        let condition = self.condition()?;
        self.refuse_returning()?;
        Ok(Update { table, using, assignments, relations, condition })
    }

    /// Refuses a write that asks for the values that it writes or that were there before.
    fn refuse_returning(&self) -> Result<(), RequestError> {
        match self.looking_at(&["RETURNING"]) {
            true => Err(self.not_in_grammar("RETURNING is")),
            false => Ok(()),
        }
    }

    fn assignment(&mut self) -> Result<Assignment, RequestError> {
        let column = self.name("a column name")?;
        let operation = match self.symbol() {
            Some("[") => {
                self.advance();
                let key = self.term()?;
                self.expect_symbol("]")?;
                self.expect_symbol("=")?;
                Operation::SetElement { key, value: self.term()? }
            }
            Some(".") => {
                self.advance();
                let field = self.name("the name of a field")?;
                self.expect_symbol("=")?;
                Operation::SetField { field, value: self.term()? }
            }
            Some("+=") => {
                self.advance();
                Operation::Add(self.term()?)
            }
            Some("-=") => {
                self.advance();
                Operation::Subtract(self.term()?)
            }
            _ => {
                self.expect_symbol("=")?;
                self.assigned_value(&column)?
            }
        };
        Ok(Assignment { column, operation })
    }

    /// What follows `column =`: a value, or the column itself with a value added, taken away or in front.
    fn assigned_value(&mut self, column: &Name) -> Result<Operation, RequestError> {
        if self.begins_with_column() {
            let own = self.name("a value")?;
            let adds = self.symbol() == Some("+");
            if !adds && self.symbol() != Some("-") {
                self.expected.extend(["+", "-"]);
                return Err(self.unexpected());
            }
            let sign = if adds { "+" } else { "-" };
            self.check_own(column, &own, &format!("X = X {sign}<value>"))?;
            self.advance();
            let value = self.term()?;
            return Ok(if adds { Operation::Add(value) } else { Operation::Subtract(value) });
        }
        let value = self.assigned()?;
        if self.symbol() != Some("+") {
            return Ok(Operation::Set(value));
        }
        self.advance();
        let own = self.name("a column name")?;
        self.check_own(column, &own, "X = <value> + X")?;
        Ok(Operation::Prepend(value))
    }

    /// True when a name and an operator stand here: `c + ...`.
    fn begins_with_column(&self) -> bool {
        let is_name = match self.token.kind {
            TokenKind::Word => !model::name::is_reserved(self.text()),
            TokenKind::QuotedName => true,
            _ => false,
        };
        is_name && matches!(self.following().kind, TokenKind::Symbol("+" | "-" | "*" | "/" | "%"))
    }

    fn check_own(&self, column: &Name, own: &Name, form: &str) -> Result<(), RequestError> {
        if column.text == own.text {
            return Ok(());
        }
        Err(self.source.syntax(own.at, format!("Only expressions of the form {form} are supported.")))
    }

    fn delete(&mut self) -> Result<Delete, RequestError> {
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
        let condition = self.condition()?;
        self.refuse_returning()?;
        Ok(Delete { columns, table, timestamp, relations, condition })
    }

    fn deleted_column(&mut self) -> Result<DeletedColumn, RequestError> {
        let column = self.name("a column name")?;
        Ok(match self.part_of_column(column)? {
            Subject::Element { column, key } => DeletedColumn::Element { column, key },
            Subject::Field { column, field } => DeletedColumn::Field { column, field },
            Subject::Column(column) => DeletedColumn::Column(column),
            Subject::Columns(_) | Subject::Token(_) => return Err(self.unexpected()),
        })
    }

    /// `IF EXISTS` or `IF` and conditions, and where it stands.
    fn condition(&mut self) -> Result<Option<(Condition, Position)>, RequestError> {
        let at = self.here();
        if !self.eat_word("IF") {
            return Ok(None);
        }
        if self.looking_at(&["EXISTS"]) && self.ends_condition() {
            self.advance();
            return Ok(Some((Condition::Exists, at)));
        }
        let mut relations = vec![self.column_condition()?];
        while self.eat_word("AND") {
            relations.push(self.column_condition()?);
        }
        Ok(Some((Condition::Relations(relations), at)))
    }

    /// True when the word in hand ends a statement, so that it is no column that is compared.
    fn ends_condition(&self) -> bool {
        let following = self.following();
        match following.kind {
            TokenKind::End | TokenKind::Symbol(";") => true,
            TokenKind::Word => {
                let text = self.source.slice(following.start, following.end);
                !["IN", "CONTAINS"].iter().any(|word| text.eq_ignore_ascii_case(word))
            }
            _ => false,
        }
    }

    fn column_condition(&mut self) -> Result<Relation, RequestError> {
        let column = self.name("a column name")?;
        let subject = self.part_of_column(column)?;
        self.comparison(subject)
    }

    fn using(&mut self) -> Result<Using, RequestError> {
        let mut using = Using::default();
        if !self.eat_word("USING") {
            return Ok(using);
        }
        loop {
            let at = self.here();
            if self.looking_at(&["TIMEOUT"]) {
                return Err(self.not_in_grammar("USING TIMEOUT of a write is"));
            }
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
}
