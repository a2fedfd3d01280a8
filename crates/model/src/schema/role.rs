//! Roles: who may log in, and what each change makes of them. They are part of the schema, so that every node has
//! them and the metadata log decides their changes.
//!
//! Invariant: a password is never here, only its hash, which the node that proposes a change has made, or whoever asks
//! for it.

use super::Schema;
use crate::codec::{CodecError, Decode, Encode, Reader, put_option};
use crate::error::RequestError;
use std::fmt;
use std::sync::Arc;

/// A role; a user is one that may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// The salted hash of its password in the form of bcrypt; without one nobody logs in.
    pub password_hash: Option<String>,
    /// True when it may log in.
    pub login: bool,
    /// True when it may do everything, and make others that may.
    pub superuser: bool,
}

/// Without the hash: it is nobody's business who reads a log.
impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Role { name, password_hash, login, superuser } = self;
        let password = password_hash.is_some();
        write!(f, "Role {{ name: {name:?}, password: {password}, login: {login}, superuser: {superuser} }}")
    }
}

/// A change of the roles.
#[derive(Clone, PartialEq, Eq)]
pub enum RoleChange {
    /// `CREATE ROLE`.
    Create {
        /// The whole role.
        role: Role,
        /// True for `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `ALTER ROLE`: what is `None` stays.
    Alter {
        /// Its name.
        name: String,
        /// The hash of another password.
        password_hash: Option<String>,
        /// Whether it may log in.
        login: Option<bool>,
        /// Whether it may do everything.
        superuser: Option<bool>,
        /// True for `IF EXISTS`.
        if_exists: bool,
    },
    /// `DROP ROLE`.
    Drop {
        /// Its name.
        name: String,
        /// True for `IF EXISTS`.
        if_exists: bool,
    },
}

impl RoleChange {
    /// The role that it changes.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            RoleChange::Create { role, .. } => &role.name,
            RoleChange::Alter { name, .. } | RoleChange::Drop { name, .. } => name,
        }
    }
}

impl fmt::Debug for RoleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoleChange::Create { role, if_not_exists } => write!(f, "Create {{ {role:?}, {if_not_exists} }}"),
            RoleChange::Alter { name, password_hash, login, superuser, if_exists } => {
                let password = password_hash.is_some();
                write!(f, "Alter {{ {name:?}, password: {password}, {login:?}, {superuser:?}, {if_exists} }}")
            }
            RoleChange::Drop { name, if_exists } => write!(f, "Drop {{ {name:?}, {if_exists} }}"),
        }
    }
}

impl Schema {
    /// The role of this name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(name)
    }

    /// The roles by name.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    pub(super) fn apply_role(&self, change: &RoleChange) -> Result<Option<Schema>, RequestError> {
        let missing = |name: &str| RequestError::Invalid(format!("{name} doesn't exist"));
        let mut next = self.clone();
        match change {
            RoleChange::Create { role, if_not_exists } => {
                if self.roles.contains_key(&role.name) {
                    let exists = RequestError::Invalid(format!("{} already exists", role.name));
                    return if *if_not_exists { Ok(None) } else { Err(exists) };
                }
                next.roles.insert(role.name.clone(), Arc::new(role.clone()));
            }
            RoleChange::Alter { name, password_hash, login, superuser, if_exists } => {
                let Some(role) = self.roles.get(name) else {
                    return if *if_exists { Ok(None) } else { Err(missing(name)) };
                };
                let role = Role {
                    name: name.clone(),
                    password_hash: password_hash.clone().or_else(|| role.password_hash.clone()),
                    login: login.unwrap_or(role.login),
                    superuser: superuser.unwrap_or(role.superuser),
                };
                next.roles.insert(name.clone(), Arc::new(role));
            }
            RoleChange::Drop { name, if_exists } => {
                if next.roles.remove(name).is_none() {
                    return if *if_exists { Ok(None) } else { Err(missing(name)) };
                }
            }
        }
        Ok(Some(next))
    }
}

impl Encode for Role {
    fn encode(&self, out: &mut Vec<u8>) {
        self.name.encode(out);
        put_option(out, self.password_hash.as_ref());
        self.login.encode(out);
        self.superuser.encode(out);
    }
}

impl Decode for Role {
    fn decode(reader: &mut Reader) -> Result<Role, CodecError> {
        let (name, password_hash) = (reader.text()?, reader.option()?);
        Ok(Role { name, password_hash, login: reader.bool()?, superuser: reader.bool()? })
    }
}

impl Encode for RoleChange {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            RoleChange::Create { role, if_not_exists } => {
                out.push(0);
                role.encode(out);
                if_not_exists.encode(out);
            }
            RoleChange::Alter { name, password_hash, login, superuser, if_exists } => {
                out.push(1);
                name.encode(out);
                put_option(out, password_hash.as_ref());
                put_option(out, login.as_ref());
                put_option(out, superuser.as_ref());
                if_exists.encode(out);
            }
            RoleChange::Drop { name, if_exists } => {
                out.push(2);
                name.encode(out);
                if_exists.encode(out);
            }
        }
    }
}

impl Decode for RoleChange {
    fn decode(reader: &mut Reader) -> Result<RoleChange, CodecError> {
        Ok(match reader.u8()? {
            0 => RoleChange::Create { role: Role::decode(reader)?, if_not_exists: reader.bool()? },
            1 => RoleChange::Alter {
                name: reader.text()?,
                password_hash: reader.option()?,
                login: reader.option()?,
                superuser: reader.option()?,
                if_exists: reader.bool()?,
            },
            2 => RoleChange::Drop { name: reader.text()?, if_exists: reader.bool()? },
            _ => return Err(CodecError::Invalid("change of a role")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::SchemaChange;
    use super::*;

    fn role(name: &str) -> Role {
        Role { name: name.to_owned(), password_hash: Some("secret".to_owned()), login: true, superuser: false }
    }

    fn create(name: &str, if_not_exists: bool) -> RoleChange {
        RoleChange::Create { role: role(name), if_not_exists }
    }

    fn alter(name: &str, superuser: Option<bool>, if_exists: bool) -> RoleChange {
        RoleChange::Alter { name: name.to_owned(), password_hash: None, login: None, superuser, if_exists }
    }

    fn drop(name: &str, if_exists: bool) -> RoleChange {
        RoleChange::Drop { name: name.to_owned(), if_exists }
    }

    #[test]
    fn roles_are_made_changed_and_dropped() {
        let apply = |schema: &Schema, change: RoleChange| schema.apply(&SchemaChange::Role(change));
        let one = apply(&Schema::default(), create("a", false)).unwrap().unwrap();
        assert_eq!(apply(&one, create("a", true)), Ok(None));
        assert_eq!(apply(&one, create("a", false)).unwrap_err().to_string(), "a already exists");
        let two = apply(&one, alter("a", Some(true), false)).unwrap().unwrap();
        assert_eq!(two.role("a").map(|role| Role::clone(role)), Some(Role { superuser: true, ..role("a") }));
        assert_eq!(apply(&one, alter("b", None, true)), Ok(None));
        assert_eq!(apply(&one, alter("b", None, false)).unwrap_err().to_string(), "b doesn't exist");
        assert_eq!(apply(&two, drop("a", false)), Ok(Some(Schema::default())));
        assert_eq!(apply(&one, drop("b", true)), Ok(None));
        assert_eq!(apply(&one, drop("b", false)).unwrap_err().to_string(), "b doesn't exist");
    }

    #[test]
    fn changes_are_read_as_they_were_written_and_show_no_hash() {
        for change in [create("a", true), alter("b", Some(false), true), alter("b", None, false), drop("c", false)] {
            let mut bytes = Vec::new();
            SchemaChange::Role(change.clone()).encode(&mut bytes);
            let mut reader = Reader::new(bytes.into());
            assert_eq!(SchemaChange::decode(&mut reader), Ok(SchemaChange::Role(change.clone())));
            assert!(!format!("{change:?}").contains("secret"));
        }
    }
}
