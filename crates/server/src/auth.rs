//! Who a client is, and what it may ask about roles.
//!
//! Invariants:
//! * There is no password that somebody else could know: until the cluster has a superuser that may log in, the only
//!   one is in a file of the operator's.
//! * Passwords are kept as salted, slow hashes. Few are worked on at a time and few wait, whoever asks and whether or
//!   not they still wait for the answer: guessing costs a bounded part of a processor, and no memory. One that was
//!   right is known again, without a wait, by a digest that is worth nothing outside of this process.

use crate::config::ConfigError;
use crate::execute::{Answer, Executor};
use membership::ClusterView;
use model::RequestError;
use model::limits::NAME_BYTES_MAX;
use model::schema::{Role, SchemaChange};
use node::io::Response;
use parking_lot::Mutex;
use query::{Password, RoleRequest, RoleStatement};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The superuser of a cluster that has no other, as in Cassandra.
const FIRST_SUPERUSER: &str = "cassandra";
/// Passwords that are checked or hashed at a time.
const CHECKS_MAX: usize = 2;
/// Passwords that wait for that.
const WAITING_MAX: usize = 128;
/// Logins that are known again.
const KNOWN_MAX: usize = 1_024;
/// The logarithm of the rounds of a hash: that of Cassandra, some 50 ms.
const COST: u32 = 10;
/// The largest of a hash that was made elsewhere: some 0.8 s.
const COST_MAX: u32 = 14;
/// What bcrypt takes of a password.
const PASSWORD_BYTES_MAX: usize = 72;

/// Who makes a request: nobody in particular while clients need not log in.
pub(crate) type Login = Option<Arc<str>>;

/// Checks passwords.
pub(crate) struct Authenticator {
    /// That of [`FIRST_SUPERUSER`]; `None` when clients need not log in.
    first_password: Option<String>,
    /// By role and digest of hash and password.
    known: Mutex<BTreeMap<[u8; 32], Arc<str>>>,
    secret: u128,
    checks: Arc<Semaphore>,
    waiting: Semaphore,
}

/// True for a password that bcrypt takes as it is: of a longer one it would look at the beginning only.
fn fits(password: &str) -> bool {
    password.len() <= PASSWORD_BYTES_MAX && !password.contains('\0')
}

/// Reads the password of the first superuser.
///
/// # Errors
/// When the file cannot be read, or there is none in it.
pub(crate) fn read_password(path: &Path) -> Result<String, ConfigError> {
    let problem = |message: String| ConfigError { subject: "superuser_password_file".to_owned(), message };
    let text = std::fs::read_to_string(path).map_err(|cause| problem(format!("{}: {cause}", path.display())))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || !fits(password) {
        let path = path.display();
        return Err(problem(format!("{path}: must hold a password of 1 to {PASSWORD_BYTES_MAX} bytes")));
    }
    Ok(password.to_owned())
}

impl Authenticator {
    /// Clients must log in if there is a first password. `secret` is random.
    pub(crate) fn new(first_password: Option<String>, secret: u128) -> Authenticator {
        let (checks, waiting) = (Arc::new(Semaphore::new(CHECKS_MAX)), Semaphore::new(WAITING_MAX));
        Authenticator { first_password, known: Mutex::default(), secret, checks, waiting }
    }

    /// True when clients must log in.
    pub(crate) fn is_required(&self) -> bool {
        self.first_password.is_some()
    }

    /// The role of a client that says it is `name`.
    ///
    /// # Errors
    /// `Unauthorized`, in the same words whatever is wrong; `Overloaded` when too many log in at once.
    pub(crate) async fn log_in(
        &self,
        view: &ClusterView,
        name: &str,
        password: &str,
    ) -> Result<Arc<str>, RequestError> {
        let refused = || {
            let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
            let message = format!("Provided username {shown} and/or password are incorrect");
            RequestError::Unauthorized(message)
        };
        if !fits(password) {
            return Err(refused());
        }
        if is_first(view, name) {
            // That of a role of this name, which is no superuser, would not do.
            let is_right = self.first_password.as_deref().is_some_and(|first| same(first, password));
            return if is_right { Ok(FIRST_SUPERUSER.into()) } else { Err(refused()) };
        }
        let role = view.schema.role(name).filter(|role| role.login);
        let Some(hash) = role.and_then(|role| role.password_hash.clone()) else { return Err(refused()) };
        let digest = self.digest(&hash, password);
        if let Some(known) = self.known.lock().get(&digest).filter(|known| ***known == *name) {
            return Ok(known.clone());
        }
        let password = password.to_owned();
        if !matches!(self.work(move || bcrypt::verify(password, &hash)).await?, Ok(true)) {
            return Err(refused());
        }
        let name: Arc<str> = name.into();
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(digest, name.clone());
        Ok(name)
    }

    /// Has bcrypt do something slow, once it may. The place is kept until that has ended, also when nobody waits for it
    /// any more: it cannot be stopped.
    async fn work<T: Send + 'static>(&self, slow: impl FnOnce() -> T + Send + 'static) -> Result<T, RequestError> {
        let overloaded = |_| RequestError::Overloaded("too many clients log in at once".to_owned());
        let stopping = || RequestError::NotServing("it is shutting down".to_owned());
        let _place = self.waiting.try_acquire().map_err(overloaded)?;
        let check = self.checks.clone().acquire_owned().await.map_err(|_| stopping())?;
        let done = tokio::task::spawn_blocking(move || {
            let _check = check;
            slow()
        });
        done.await.map_err(|_| stopping())
    }

    /// The hash of a password.
    async fn hashed(&self, password: &Password) -> Result<String, RequestError> {
        match password {
            Password::Hashed(hash) => {
                let is_cheap = |parts: bcrypt::HashParts| parts.get_cost() <= COST_MAX;
                let tried = hash.clone();
                // Only trying it tells whether all of it is right.
                let is_hash =
                    hash.parse().is_ok_and(is_cheap) && self.work(move || bcrypt::verify("", &tried)).await?.is_ok();
                if !is_hash {
                    let message =
                        format!("Invalid hashed password value. Please use bcrypt, of a cost up to {COST_MAX}.");
                    return Err(RequestError::Invalid(message));
                }
                Ok(hash.clone())
            }
            Password::Plain(password) if !fits(password) => {
                let message = format!("A password has {PASSWORD_BYTES_MAX} bytes at most, and none that is 0");
                Err(RequestError::Invalid(message))
            }
            Password::Plain(password) => {
                let password = password.clone();
                let made = self.work(move || bcrypt::hash(password, COST)).await?;
                made.map_err(|cause| RequestError::Server(format!("the password could not be hashed: {cause}")))
            }
        }
    }

    /// The password that was right for a hash is known again; another one is not, since nobody knows the secret.
    fn digest(&self, hash: &str, password: &str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for part in [&self.secret.to_be_bytes()[..], hash.as_bytes(), password.as_bytes()] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

/// Compares every byte, so that the time tells nothing of where they differ.
fn same(a: &str, b: &str) -> bool {
    let differences = a.bytes().zip(b.bytes()).fold(0, |differences, (a, b)| differences | (a ^ b));
    a.len() == b.len() && differences == 0
}

fn has_superuser(view: &ClusterView) -> bool {
    view.schema.roles().any(|role| role.superuser && role.login && role.password_hash.is_some())
}

fn unauthorized<T>(message: &str) -> Result<T, RequestError> {
    Err(RequestError::Unauthorized(message.to_owned()))
}

impl Executor {
    /// Executes a statement about roles.
    ///
    /// # Errors
    /// `Unauthorized` when `login` may not do it; as [`Executor::change_schema`].
    pub(crate) async fn execute_role_statement(
        &self,
        statement: RoleStatement,
        login: Login,
    ) -> Result<Answer, RequestError> {
        if !self.authenticator.is_required() {
            return match statement.request.password() {
                // In Cassandra's words.
                Some(_) => Err(RequestError::Invalid(
                    "org.apache.cassandra.auth.CassandraRoleManager doesn't support PASSWORD".to_owned(),
                )),
                None => unauthorized("You have to be logged in and not anonymous to perform this request"),
            };
        }
        let Some(login) = login else { return unauthorized("You have not logged in") };
        let view = self.view()?.clone();
        let is_superuser = is_superuser(&view, &login);
        if !statement.columns().is_empty() {
            let is_shown = |role: &Role| is_superuser || *role.name == *login;
            let rows = statement.rows(&view.schema, is_shown)?;
            return Ok(Answer::Data(Response::own_rows(rows, None)));
        }
        if !is_superuser && !is_own_password(&statement.request, &login) {
            return unauthorized("Only superusers are allowed to make, change and drop roles");
        }
        if let RoleRequest::Drop { name, .. } = &statement.request
            && **name == *login
        {
            return Err(RequestError::Invalid("Cannot DROP primary role for current login".to_owned()));
        }
        if let RoleRequest::Alter { name, options, .. } = &statement.request
            && **name == *login
            && options.superuser.is_some()
        {
            // In Cassandra's words.
            return unauthorized("You aren't allowed to alter your own superuser status");
        }
        let hash = match statement.request.password() {
            Some(password) => Some(self.authenticator.hashed(password).await?),
            None => None,
        };
        match statement.request.change(hash) {
            Some(change) => {
                self.change_schema(SchemaChange::Role(change)).await?;
                // Not a change that drivers know.
                Ok(Answer::Data(Response::Written))
            }
            None => Err(RequestError::Server("the statement changes nothing".to_owned())),
        }
    }

    /// Refuses what only superusers may do.
    ///
    /// # Errors
    /// `Unauthorized`.
    pub(crate) fn check_superuser(&self, login: &Login) -> Result<(), RequestError> {
        match login {
            _ if !self.authenticator.is_required() => Ok(()),
            Some(login) if is_superuser(&self.published.view.load(), login) => Ok(()),
            _ => unauthorized("Only superusers are allowed to administer the cluster"),
        }
    }
}

fn is_superuser(view: &ClusterView, name: &str) -> bool {
    is_first(view, name) || view.schema.role(name).is_some_and(|role| role.superuser)
}

/// True for the superuser whose password is in the file, as long as the cluster has no other.
fn is_first(view: &ClusterView, name: &str) -> bool {
    name == FIRST_SUPERUSER && !has_superuser(view)
}

/// A role may give itself another password.
fn is_own_password(request: &RoleRequest, login: &str) -> bool {
    match request {
        RoleRequest::Alter { name, options, .. } => {
            *name == *login && options.login.is_none() && options.superuser.is_none()
        }
        _ => false,
    }
}
