//! Statements about roles: what they ask for, and the rows of those that list.
//!
//! Invariant: who may do it, and what becomes of a password, is not decided here: the caller knows who asks, and
//! hashes.

use crate::operand::ColumnSpec;
use bytes::Bytes;
use model::schema::{Role, RoleChange, Schema};
use model::{CqlType, RequestError, Value};
use std::fmt;
use std::sync::Arc;

/// A password as a statement gives it.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// Itself.
    Plain(String),
    /// Its hash, as bcrypt makes it.
    Hashed(String),
}

/// Nothing of it: what is printed ends up in logs.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// The options of a role that a statement names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleOptions {
    /// Its password.
    pub password: Option<Password>,
    /// Whether it may log in.
    pub login: Option<bool>,
    /// Whether it may do everything.
    pub superuser: Option<bool>,
}

/// A statement about roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleRequest {
    /// `CREATE ROLE`, `CREATE USER`.
    Create {
        /// Its name.
        name: String,
        /// What it is to be; what is not named is off.
        options: RoleOptions,
        /// True for `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `ALTER ROLE`, `ALTER USER`.
    Alter {
        /// Its name.
        name: String,
        /// What is to be different.
        options: RoleOptions,
        /// True for `IF EXISTS`.
        if_exists: bool,
    },
    /// `DROP ROLE`, `DROP USER`.
    Drop {
        /// Its name.
        name: String,
        /// True for `IF EXISTS`.
        if_exists: bool,
    },
    /// `LIST ROLES`.
    ListRoles {
        /// The role whose roles are listed; its own, since none is granted to another.
        of: Option<String>,
    },
    /// `LIST USERS`: the roles that may log in.
    ListUsers,
}

/// What a statement about roles does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleStatement {
    /// What it asks for.
    pub request: RoleRequest,
    columns: Vec<ColumnSpec>,
}

impl RoleStatement {
    pub(crate) fn new(request: RoleRequest) -> RoleStatement {
        let text_map = || CqlType::Map { entry: Arc::new((CqlType::Text, CqlType::Text)), frozen: true };
        let columns = match &request {
            RoleRequest::ListRoles { .. } => vec![
                ("role", CqlType::Text),
                ("super", CqlType::Boolean),
                ("login", CqlType::Boolean),
                ("options", text_map()),
                ("datacenters", CqlType::Text),
            ],
            RoleRequest::ListUsers => {
                vec![("name", CqlType::Text), ("super", CqlType::Boolean), ("datacenters", CqlType::Text)]
            }
            _ => Vec::new(),
        };
        let column = |(name, cql_type): (&str, CqlType)| ColumnSpec {
            keyspace: "system_auth".to_owned(),
            table: "roles".to_owned(),
            name: name.to_owned(),
            cql_type,
        };
        RoleStatement { request, columns: columns.into_iter().map(column).collect() }
    }

    /// The columns of the rows of a statement that lists; none for others.
    #[must_use]
    pub fn columns(&self) -> &[ColumnSpec] {
        &self.columns
    }

    /// The rows of a statement that lists, of those roles that `is_shown`.
    ///
    /// # Errors
    /// `Invalid` when the role that it names does not exist.
    pub fn rows(
        &self,
        schema: &Schema,
        is_shown: impl Fn(&Role) -> bool,
    ) -> Result<Vec<Vec<Option<Bytes>>>, RequestError> {
        let of = match &self.request {
            RoleRequest::ListRoles { of: Some(name) } if schema.role(name).is_none() => {
                return Err(RequestError::Invalid(format!("{name} doesn't exist")));
            }
            RoleRequest::ListRoles { of } => of.as_deref(),
            _ => None,
        };
        let users = self.request == RoleRequest::ListUsers;
        let is_listed = |role: &&Arc<Role>| of.is_none_or(|of| role.name == of) && (role.login || !users);
        let row = |role: &Arc<Role>| {
            let value = |column: &ColumnSpec| match column.name.as_str() {
                "super" => Value::Boolean(role.superuser),
                "login" => Value::Boolean(role.login),
                "options" => Value::Map(Vec::new()),
                "datacenters" => Value::Text("ALL".to_owned()),
                _ => Value::Text(role.name.clone()),
            };
            self.columns.iter().map(|column| Some(value(column).to_wire())).collect()
        };
        Ok(schema.roles().filter(|role| is_shown(role)).filter(is_listed).map(row).collect())
    }
}

impl RoleRequest {
    /// The password that is to be hashed before [`RoleRequest::change`].
    #[must_use]
    pub fn password(&self) -> Option<&Password> {
        match self {
            RoleRequest::Create { options, .. } | RoleRequest::Alter { options, .. } => options.password.as_ref(),
            _ => None,
        }
    }

    /// The change of the schema, with the hash of the password; `None` for a statement that lists.
    #[must_use]
    pub fn change(&self, password_hash: Option<String>) -> Option<RoleChange> {
        Some(match self.clone() {
            RoleRequest::Create { name, options, if_not_exists } => {
                let (login, superuser) = (options.login.unwrap_or(false), options.superuser.unwrap_or(false));
                RoleChange::Create { role: Role { name, password_hash, login, superuser }, if_not_exists }
            }
            RoleRequest::Alter { name, options: RoleOptions { login, superuser, .. }, if_exists } => {
                RoleChange::Alter { name, password_hash, login, superuser, if_exists }
            }
            RoleRequest::Drop { name, if_exists } => RoleChange::Drop { name, if_exists },
            RoleRequest::ListRoles { .. } | RoleRequest::ListUsers => return None,
        })
    }
}
