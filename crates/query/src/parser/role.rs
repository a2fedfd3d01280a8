//! CREATE, ALTER, DROP and LIST of roles and users.

use super::Parser;
use crate::ast::{Literal, LiteralKind, Statement};
use crate::lexer::TokenKind;
use crate::role::{Password, RoleOptions, RoleRequest};
use model::RequestError;

impl Parser<'_> {
    /// A statement about roles, if it is one.
    pub(super) fn role_statement(&mut self) -> Result<Option<Statement>, RequestError> {
        let verb = ["CREATE", "ALTER", "DROP", "LIST"].into_iter().find(|verb| {
            let nouns = if *verb == "LIST" { ["ROLES", "USERS"] } else { ["ROLE", "USER"] };
            nouns.iter().any(|noun| self.looking_at(&[verb, noun]))
        });
        let Some(verb) = verb else { return Ok(None) };
        self.advance();
        let is_user = self.looking_at(&["USER"]) || self.looking_at(&["USERS"]);
        self.advance();
        let request = match verb {
            "CREATE" => {
                let if_not_exists = self.if_not_exists()?;
                let name = self.role_name()?;
                let mut options = self.role_options(is_user)?;
                if is_user {
                    options.login = Some(true);
                }
                RoleRequest::Create { name, options, if_not_exists }
            }
            "ALTER" => {
                let if_exists = self.if_exists()?;
                let name = self.role_name()?;
                RoleRequest::Alter { name, options: self.role_options(is_user)?, if_exists }
            }
            "DROP" => {
                let if_exists = self.if_exists()?;
                RoleRequest::Drop { name: self.role_name()?, if_exists }
            }
            _ if is_user => RoleRequest::ListUsers,
            _ => {
                let of = if self.eat_word("OF") { Some(self.role_name()?) } else { None };
                // No role is granted to another, so that there is nothing to follow.
                self.eat_word("NORECURSIVE");
                RoleRequest::ListRoles { of }
            }
        };
        Ok(Some(Statement::Role(request)))
    }

    /// A name, or a string: then it is taken as it is.
    fn role_name(&mut self) -> Result<String, RequestError> {
        if self.token.kind == TokenKind::String {
            return Ok(self.string());
        }
        Ok(self.name("the name of a role")?.text)
    }

    /// `WITH option AND ...` of a role; of a user `WITH PASSWORD '...'` and a word behind it.
    fn role_options(&mut self, is_user: bool) -> Result<RoleOptions, RequestError> {
        let mut options = RoleOptions::default();
        if self.eat_word("WITH") {
            self.role_option(is_user, &mut options)?;
            while !is_user && self.eat_word("AND") {
                self.role_option(is_user, &mut options)?;
            }
        }
        if is_user && self.eat_word("SUPERUSER") {
            options.superuser = Some(true);
        } else if is_user && self.eat_word("NOSUPERUSER") {
            options.superuser = Some(false);
        }
        Ok(options)
    }

    fn role_option(&mut self, is_user: bool, options: &mut RoleOptions) -> Result<(), RequestError> {
        let at = self.here();
        for words in [&["GENERATED", "PASSWORD"][..], &["OPTIONS"], &["ACCESS", "TO"], &["ACCESS", "FROM"]] {
            if self.looking_at(words) {
                return Err(self.unsupported(&format!("{} of a role is", words.join(" "))));
            }
        }
        let is_hashed = self.looking_at(&["HASHED", "PASSWORD"]);
        if is_hashed {
            self.advance();
        }
        let is_given_twice = if self.eat_word("PASSWORD") {
            if !is_user {
                self.expect_symbol("=")?;
            }
            let text = self.role_string()?;
            let password = if is_hashed { Password::Hashed(text) } else { Password::Plain(text) };
            options.password.replace(password).is_some()
        } else if !is_user && self.eat_word("LOGIN") {
            options.login.replace(self.role_boolean()?).is_some()
        } else if !is_user && self.eat_word("SUPERUSER") {
            options.superuser.replace(self.role_boolean()?).is_some()
        } else {
            return Err(self.unexpected());
        };
        if is_given_twice {
            return Err(self.source.syntax(at, "Multiple definitions for a property of a role".to_owned()));
        }
        Ok(())
    }

    fn role_string(&mut self) -> Result<String, RequestError> {
        if self.token.kind == TokenKind::String {
            return Ok(self.string());
        }
        self.expected.push("a string");
        Err(self.unexpected())
    }

    fn role_boolean(&mut self) -> Result<bool, RequestError> {
        self.expect_symbol("=")?;
        match self.literal()? {
            Some(Literal { kind: LiteralKind::Boolean, text }) => Ok(text.eq_ignore_ascii_case("true")),
            _ => {
                self.expected.push("true or false");
                Err(self.unexpected())
            }
        }
    }
}
