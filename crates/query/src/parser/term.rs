//! Terms and the names of types.

use super::Parser;
use crate::ast::{ArithmeticOperator, FunctionName, Name, Term, TermKind, TypeName, TypeNameKind};
use crate::lexer::{Lexer, Token, TokenKind};
use crate::source::Position;
use crate::term::time_of_cells;
use model::limits::NESTING_MAX;
use model::name::is_reserved;
use model::{CqlType, RequestError};

/// What a name without parentheses is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// An error: what is wanted is a value.
    Values,
    /// A column.
    Selection,
    /// An error, but for the column at the end of `c = value + c`, which is left for the caller.
    Assignment,
}

/// A term and how many levels it has, which is at most `NESTING_MAX`: a chain of operators has as many as it
/// has operators.
struct Tall {
    term: Term,
    height: usize,
}

/// Where to go back to when an attempt fails.
struct Mark<'a> {
    lexer: Lexer<'a>,
    token: Token,
    markers: usize,
}

impl<'a> Parser<'a> {
    /// A term that is a value: it names no column.
    pub(super) fn term(&mut self) -> Result<Term, RequestError> {
        Ok(self.addition(Scope::Values, 1)?.term)
    }

    /// A term of the SELECT clause or GROUP BY, which may name columns.
    pub(super) fn selection(&mut self) -> Result<Term, RequestError> {
        Ok(self.addition(Scope::Selection, 1)?.term)
    }

    /// A term behind `c =`, and what stands behind it: `+` and a column, perhaps.
    pub(super) fn assigned(&mut self) -> Result<Term, RequestError> {
        Ok(self.addition(Scope::Assignment, 1)?.term)
    }

    /// Terms separated by commas up to `close`, which is taken too.
    pub(super) fn terms_until(&mut self, close: &'static str) -> Result<Vec<Term>, RequestError> {
        Ok(self.items(Scope::Values, 1, close)?.0)
    }

    fn nested_too_deep(&self, at: Position) -> RequestError {
        self.source.invalid(at, format!("a term may not be nested more than {NESTING_MAX} deep"))
    }

    fn tall(&self, kind: TermKind, at: Position, height: usize) -> Result<Tall, RequestError> {
        if height > NESTING_MAX {
            return Err(self.nested_too_deep(at));
        }
        Ok(Tall { term: Term { kind, at }, height })
    }

    fn addition(&mut self, scope: Scope, depth: usize) -> Result<Tall, RequestError> {
        let mut left = self.multiplication(scope, depth)?;
        loop {
            let operator = match self.symbol() {
                Some("+") if scope == Scope::Assignment && self.is_followed_by_column() => return Ok(left),
                Some("+") => ArithmeticOperator::Add,
                Some("-") => ArithmeticOperator::Subtract,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.multiplication(scope, depth)?;
            left = self.arithmetic(operator, left, right)?;
        }
    }

    fn multiplication(&mut self, scope: Scope, depth: usize) -> Result<Tall, RequestError> {
        let mut left = self.unary(scope, depth)?;
        loop {
            let operator = match self.symbol() {
                Some("*") => ArithmeticOperator::Multiply,
                Some("/") => ArithmeticOperator::Divide,
                Some("%") => ArithmeticOperator::Remainder,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.unary(scope, depth)?;
            left = self.arithmetic(operator, left, right)?;
        }
    }

    fn arithmetic(&self, operator: ArithmeticOperator, left: Tall, right: Tall) -> Result<Tall, RequestError> {
        let (at, height) = (left.term.at, 1 + left.height.max(right.height));
        let (left, right) = (Box::new(left.term), Box::new(right.term));
        self.tall(TermKind::Arithmetic { operator, left, right }, at, height)
    }

    fn unary(&mut self, scope: Scope, depth: usize) -> Result<Tall, RequestError> {
        let at = self.here();
        // The sign of a number is part of it.
        if self.symbol() != Some("-") || self.is_number(self.following()) {
            return self.primary(scope, depth);
        }
        if depth >= NESTING_MAX {
            return Err(self.nested_too_deep(at));
        }
        self.advance();
        let Tall { term, height } = self.unary(scope, depth + 1)?;
        self.tall(TermKind::Negation(Box::new(term)), at, height + 1)
    }

    /// True for what begins a number, without its sign.
    fn is_number(&self, token: Token) -> bool {
        let text = self.source.slice(token.start, token.end);
        match token.kind {
            TokenKind::Integer | TokenKind::Float | TokenKind::Duration => true,
            TokenKind::Word => text.eq_ignore_ascii_case("nan") || text.eq_ignore_ascii_case("infinity"),
            _ => false,
        }
    }

    /// True when the token is a name, of whatever.
    fn is_name(&self, token: Token) -> bool {
        match token.kind {
            TokenKind::Word => !is_reserved(self.source.slice(token.start, token.end)),
            TokenKind::QuotedName => true,
            _ => false,
        }
    }

    /// True when behind the current token stands a name that is no function's.
    pub(super) fn is_followed_by_column(&self) -> bool {
        let mut ahead = self.lexer;
        let (name, behind) = (ahead.next_token(), ahead.next_token());
        self.is_name(name) && !matches!(behind.kind, TokenKind::Symbol("(" | "."))
    }

    fn primary(&mut self, scope: Scope, depth: usize) -> Result<Tall, RequestError> {
        let at = self.here();
        if depth > NESTING_MAX {
            return Err(self.nested_too_deep(at));
        }
        let mut found = if let Some(marker) = self.marker()? {
            self.tall(marker, at, 1)?
        } else if let Some(literal) = self.literal()? {
            self.tall(TermKind::Literal(literal), at, 1)?
        } else if self.looking_at(&["NULL"]) {
            self.advance();
            self.tall(TermKind::Null, at, 1)?
        } else {
            match self.token.kind {
                TokenKind::Symbol("[") => {
                    self.advance();
                    let (terms, height) = self.items(scope, depth + 1, "]")?;
                    self.tall(TermKind::List(terms), at, height + 1)?
                }
                TokenKind::Symbol("{") => self.braces(scope, depth)?,
                TokenKind::Symbol("(") => self.parentheses(scope, depth)?,
                TokenKind::Word | TokenKind::QuotedName => self.named(scope, depth)?,
                _ => return Err(self.no_value()),
            }
        };
        if scope == Scope::Selection {
            while matches!(self.symbol(), Some("." | "[")) {
                found = self.part(found, depth)?;
            }
        }
        Ok(found)
    }

    /// The error that no value begins here.
    fn no_value(&mut self) -> RequestError {
        self.expected.clear();
        self.expected.push("a value");
        self.unexpected()
    }

    /// Terms separated by commas up to `close`, and the height of the highest; none at all are allowed.
    fn items(&mut self, scope: Scope, depth: usize, close: &'static str) -> Result<(Vec<Term>, usize), RequestError> {
        let (mut terms, mut highest) = (Vec::new(), 0);
        if self.eat_symbol(close) {
            return Ok((terms, highest));
        }
        loop {
            let Tall { term, height } = self.addition(scope.inner(), depth)?;
            terms.push(term);
            highest = highest.max(height);
            if !self.eat_symbol(",") {
                self.expect_symbol(close)?;
                return Ok((terms, highest));
            }
        }
    }

    /// A set, a map or a user-defined type.
    fn braces(&mut self, scope: Scope, depth: usize) -> Result<Tall, RequestError> {
        let at = self.here();
        self.expect_symbol("{")?;
        if scope != Scope::Selection && self.is_name(self.token) && self.is_followed_by(":") {
            return self.fields(scope, depth, at);
        }
        if self.eat_symbol("}") {
            return self.tall(TermKind::Set(Vec::new()), at, 1);
        }
        let first = self.addition(scope.inner(), depth + 1)?;
        if !self.at_symbol(":") {
            let (mut terms, mut highest) = (vec![first.term], first.height);
            if self.eat_symbol(",") {
                let (others, height) = self.items(scope, depth + 1, "}")?;
                terms.extend(others);
                highest = highest.max(height);
            } else {
                self.expect_symbol("}")?;
            }
            return self.tall(TermKind::Set(terms), at, highest + 1);
        }
        let (mut entries, mut highest) = (Vec::new(), first.height);
        let mut key = first.term;
        loop {
            self.expect_symbol(":")?;
            let value = self.addition(scope.inner(), depth + 1)?;
            entries.push((key, value.term));
            highest = highest.max(value.height);
            if !self.eat_symbol(",") {
                self.expect_symbol("}")?;
                return self.tall(map_or_user_type(entries), at, highest + 1);
            }
            let next = self.addition(scope.inner(), depth + 1)?;
            highest = highest.max(next.height);
            key = next.term;
        }
    }

    /// The fields of a user-defined type, and the brace that closes them.
    fn fields(&mut self, scope: Scope, depth: usize, at: Position) -> Result<Tall, RequestError> {
        let (mut fields, mut highest) = (Vec::new(), 0);
        loop {
            let field = self.name("the name of a field")?;
            self.expect_symbol(":")?;
            let Tall { term, height } = self.addition(scope.inner(), depth + 1)?;
            fields.push((field, term));
            highest = highest.max(height);
            if !self.eat_symbol(",") {
                self.expect_symbol("}")?;
                return self.tall(TermKind::UserType(fields), at, highest + 1);
            }
        }
    }

    /// A type hint, a tuple or a term in parentheses.
    fn parentheses(&mut self, scope: Scope, depth: usize) -> Result<Tall, RequestError> {
        let at = self.here();
        if let Some(target) = self.hint() {
            let Tall { term, height } = match self.symbol() {
                Some("-") => self.unary(scope, depth + 1)?,
                _ => self.primary(scope, depth + 1)?,
            };
            return self.tall(TermKind::Hint { target, value: Box::new(term) }, at, height + 1);
        }
        self.expect_symbol("(")?;
        if self.symbol() == Some(")") {
            return Err(self.no_value());
        }
        let (terms, height) = self.items(scope, depth + 1, ")")?;
        self.tall(TermKind::Tuple(terms), at, height + 1)
    }

    /// The type of a hint, `(type)`, if one stands here: that is a type in parentheses and a value behind it.
    fn hint(&mut self) -> Option<TypeName> {
        let mark = Mark { lexer: self.lexer, token: self.token, markers: self.markers };
        self.advance();
        let target = self.type_name().ok();
        let target = target.filter(|target| {
            let closed = self.eat_symbol(")");
            closed && self.begins_value(target)
        });
        if target.is_none() {
            (self.lexer, self.token, self.markers) = (mark.lexer, mark.token, mark.markers);
        }
        self.expected.clear();
        self.name_expected = false;
        target
    }

    /// True when the current token begins the value of a hint of this type. A minus sign does so only when the
    /// type cannot be a column: `(a) - 1` is a difference.
    fn begins_value(&self, target: &TypeName) -> bool {
        match self.token.kind {
            TokenKind::Symbol("-") => !matches!(target.kind, TypeNameKind::UserDefined { .. }),
            TokenKind::Symbol("?" | ":" | "[" | "{" | "(") => true,
            TokenKind::Word => {
                let text = self.text();
                let literal = ["true", "false", "null", "nan", "infinity", "token"];
                let is_literal = literal.iter().any(|word| text.eq_ignore_ascii_case(word));
                // The words that can follow a selection and are not reserved.
                let follows = ["as", "group", "per"].iter().any(|word| text.eq_ignore_ascii_case(word));
                is_literal || !(follows || is_reserved(text))
            }
            TokenKind::Symbol(_) | TokenKind::End | TokenKind::Bad(_) => false,
            _ => true,
        }
    }

    /// What begins with a name: a function's or a column's.
    fn named(&mut self, scope: Scope, depth: usize) -> Result<Tall, RequestError> {
        let at = self.here();
        if self.is_followed_by("(") {
            if self.looking_at(&["CAST"]) {
                return self.cast(scope, depth);
            }
            let name = self.function_name()?;
            return self.call(scope, depth, at, FunctionName { keyspace: None, name });
        }
        if self.is_name(self.token) && self.is_followed_by(".") {
            let mut ahead = self.lexer;
            ahead.next_token();
            let (_name, behind) = (ahead.next_token(), ahead.next_token());
            if behind.kind == TokenKind::Symbol("(") {
                let keyspace = self.name("a keyspace name")?;
                self.expect_symbol(".")?;
                let name = self.function_name()?;
                return self.call(scope, depth, at, FunctionName { keyspace: Some(keyspace), name });
            }
        }
        if scope != Scope::Selection {
            return Err(self.no_value());
        }
        let name = self.name("a column name")?;
        self.tall(TermKind::Column(name), at, 1)
    }

    /// The name of a function: `token` is one though the word is reserved.
    fn function_name(&mut self) -> Result<Name, RequestError> {
        if self.looking_at(&["TOKEN"]) {
            let at = self.here();
            self.advance();
            return Ok(Name { text: "token".to_owned(), at });
        }
        self.name("a function name")
    }

    fn call(&mut self, scope: Scope, depth: usize, at: Position, function: FunctionName) -> Result<Tall, RequestError> {
        self.expect_symbol("(")?;
        let counts = function.keyspace.is_none() && function.name.text == "count";
        // As in Cassandra `count(1)`, or of another constant, counts rows.
        let is_constant = !matches!(
            self.token.kind,
            TokenKind::Word | TokenKind::QuotedName | TokenKind::Symbol(_) | TokenKind::Bad(_) | TokenKind::End
        );
        let counts_rows = self.symbol() == Some("*") || (is_constant && self.is_followed_by(")"));
        if scope == Scope::Selection && counts && counts_rows {
            self.advance();
            self.expect_symbol(")")?;
            return self.tall(TermKind::CountRows, at, 1);
        }
        if scope == Scope::Selection && time_of_cells(&function).is_some() {
            let Tall { term, height } = self.cells_of_column(depth + 1)?;
            return self.tall(TermKind::Call { function, arguments: vec![term] }, at, height + 1);
        }
        let (arguments, height) = self.items(scope, depth + 1, ")")?;
        self.tall(TermKind::Call { function, arguments }, at, height + 1)
    }

    /// What `writetime` and its like are of, and the parenthesis behind it: a column, or a part of one.
    fn cells_of_column(&mut self, depth: usize) -> Result<Tall, RequestError> {
        let at = self.here();
        let name = self.name("a column name")?;
        let mut found = self.tall(TermKind::Column(name), at, 1)?;
        if matches!(self.symbol(), Some("." | "[")) {
            found = self.part(found, depth)?;
        }
        self.expect_symbol(")")?;
        Ok(found)
    }

    fn cast(&mut self, scope: Scope, depth: usize) -> Result<Tall, RequestError> {
        let at = self.here();
        self.expect_word("CAST")?;
        self.expect_symbol("(")?;
        let Tall { term, height } = self.addition(scope.inner(), depth + 1)?;
        self.expect_word("AS")?;
        let at_type = self.here();
        let target = self.native_type().ok_or_else(|| {
            self.expected.push("a native type");
            self.unexpected()
        })?;
        let target = TypeName { kind: TypeNameKind::Native(target), at: at_type };
        self.expect_symbol(")")?;
        self.tall(TermKind::Cast { value: Box::new(term), target }, at, height + 1)
    }

    /// A field, an element or a slice of what was selected.
    fn part(&mut self, whole: Tall, depth: usize) -> Result<Tall, RequestError> {
        let Tall { term, height } = whole;
        let (at, value) = (term.at, Box::new(term));
        if self.eat_symbol(".") {
            let field = self.name("the name of a field")?;
            return self.tall(TermKind::Field { value, field }, at, height + 1);
        }
        self.expect_symbol("[")?;
        if self.eat_symbol("..") {
            let to = self.addition(Scope::Values, depth + 1)?;
            self.expect_symbol("]")?;
            let kind = TermKind::Slice { collection: value, from: None, to: Some(Box::new(to.term)) };
            return self.tall(kind, at, 1 + height.max(to.height));
        }
        let from = self.addition(Scope::Values, depth + 1)?;
        let (highest, from) = (height.max(from.height), Box::new(from.term));
        if !self.eat_symbol("..") {
            self.expect_symbol("]")?;
            return self.tall(TermKind::Element { collection: value, key: from }, at, highest + 1);
        }
        if self.eat_symbol("]") {
            return self.tall(TermKind::Slice { collection: value, from: Some(from), to: None }, at, highest + 1);
        }
        let to = self.addition(Scope::Values, depth + 1)?;
        self.expect_symbol("]")?;
        let kind = TermKind::Slice { collection: value, from: Some(from), to: Some(Box::new(to.term)) };
        self.tall(kind, at, 1 + highest.max(to.height))
    }

    /// The name of a type.
    pub(super) fn type_name(&mut self) -> Result<TypeName, RequestError> {
        self.type_name_at(1)
    }

    /// Takes the name of a type that has a word of its own, if one stands here.
    fn native_type(&mut self) -> Option<CqlType> {
        let word = self.text().to_ascii_lowercase();
        let native = if word == "counter" { Some(CqlType::Counter) } else { CqlType::scalar(&word) };
        let native = native.filter(|_| self.token.kind == TokenKind::Word && !self.is_followed_by("."));
        if native.is_some() {
            self.advance();
        }
        native
    }

    fn type_name_at(&mut self, depth: usize) -> Result<TypeName, RequestError> {
        let at = self.here();
        if depth > NESTING_MAX {
            let message = format!("a type may not be nested more than {NESTING_MAX} deep");
            return Err(self.source.invalid(at, message));
        }
        let kind = match self.token.kind {
            TokenKind::Word if self.is_followed_by("<") => self.parameterized_type(depth)?,
            TokenKind::Word | TokenKind::QuotedName => {
                if let Some(native) = self.native_type() {
                    TypeNameKind::Native(native)
                } else {
                    let first = self.name("a type")?;
                    if self.eat_symbol(".") {
                        TypeNameKind::UserDefined { keyspace: Some(first), name: self.name("a type")? }
                    } else {
                        TypeNameKind::UserDefined { keyspace: None, name: first }
                    }
                }
            }
            TokenKind::String => {
                let text = self.string();
                TypeNameKind::Custom(text)
            }
            _ => {
                self.expected.push("a type");
                return Err(self.unexpected());
            }
        };
        Ok(TypeName { kind, at })
    }

    /// A type with others in angle brackets.
    fn parameterized_type(&mut self, depth: usize) -> Result<TypeNameKind, RequestError> {
        let word = self.text().to_ascii_lowercase();
        if !["list", "set", "map", "tuple", "vector", "frozen"].contains(&word.as_str()) {
            self.expected.extend(["list", "set", "map", "tuple", "vector", "frozen"]);
            return Err(self.unexpected());
        }
        self.advance();
        self.expect_symbol("<")?;
        let first = self.type_name_at(depth + 1)?;
        let kind = match word.as_str() {
            "list" => TypeNameKind::List(Box::new(first)),
            "set" => TypeNameKind::Set(Box::new(first)),
            "frozen" => TypeNameKind::Frozen(Box::new(first)),
            "map" => {
                self.expect_symbol(",")?;
                TypeNameKind::Map(Box::new((first, self.type_name_at(depth + 1)?)))
            }
            "vector" => {
                self.expect_symbol(",")?;
                TypeNameKind::Vector { element: Box::new(first), dimensions: self.dimensions()? }
            }
            _ => {
                let mut types = vec![first];
                while self.eat_symbol(",") {
                    types.push(self.type_name_at(depth + 1)?);
                }
                TypeNameKind::Tuple(types)
            }
        };
        self.expect_symbol(">")?;
        Ok(kind)
    }

    fn dimensions(&mut self) -> Result<u32, RequestError> {
        if self.token.kind != TokenKind::Integer {
            self.expected.push("the number of dimensions");
            return Err(self.unexpected());
        }
        let dimensions = self.text().parse();
        let too_many = |_| self.source.invalid(self.here(), "A vector cannot have so many dimensions");
        let dimensions = dimensions.map_err(too_many)?;
        self.advance();
        Ok(dimensions)
    }
}

impl Scope {
    /// That of what is inside a term.
    fn inner(self) -> Scope {
        match self {
            Scope::Assignment => Scope::Values,
            other => other,
        }
    }
}

/// In a selection a key that is a name may be a column or a field: with only such keys it is both.
fn map_or_user_type(entries: Vec<(Term, Term)>) -> TermKind {
    if !entries.iter().all(|(key, _)| matches!(key.kind, TermKind::Column(_))) {
        return TermKind::Map(entries);
    }
    let field = |(key, value): (Term, Term)| match key.kind {
        TermKind::Column(name) => Some((name, value)),
        _ => None,
    };
    TermKind::UserType(entries.into_iter().filter_map(field).collect())
}
