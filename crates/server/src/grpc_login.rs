//! Who calls a gRPC service: every call carries `authorization: Basic` with name and password, as HTTP has it.
//!
//! Invariant: a service that is wrapped sees no call of a client that has not logged in, when clients must.

use crate::auth::Login;
use crate::client_service::status;
use crate::execute::Executor;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::RequestError;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

/// A service whose clients log in.
#[derive(Clone)]
pub(crate) struct LoggedIn<S> {
    /// The service; it finds a [`Login`] among the extensions of its requests.
    pub(crate) inner: S,
    /// Checks them.
    pub(crate) executor: Arc<Executor>,
    /// True when only superusers may call it.
    pub(crate) superusers: bool,
}

impl<S: NamedService> NamedService for LoggedIn<S> {
    const NAME: &'static str = S::NAME;
}

/// Name and password of `authorization: Basic`.
fn credentials(headers: &http::HeaderMap) -> Option<(String, String)> {
    let header = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = STANDARD.decode(header.strip_prefix("Basic ")?).ok()?;
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

async fn login(executor: &Executor, headers: &http::HeaderMap, superusers: bool) -> Result<Login, Status> {
    if !executor.authenticator.is_required() {
        return Ok(None);
    }
    let Some((name, password)) = credentials(headers) else {
        return Err(Status::unauthenticated("this node wants to know who calls: name and password are missing"));
    };
    // Operators ask a node before it serves, too, when it may know no roles yet: nobody reads or writes data then.
    let view = match superusers {
        true => executor.published.view.load_full(),
        false => executor.view().map_err(|error| status(&error))?.clone(),
    };
    let login = match executor.authenticator.log_in(&view, &name, &password).await {
        Ok(name) => Some(name),
        Err(RequestError::Unauthorized(message)) => return Err(Status::unauthenticated(message)),
        Err(error) => return Err(status(&error)),
    };
    if superusers {
        executor.check_superuser(&login).map_err(|error| status(&error))?;
    }
    Ok(login)
}

impl<S> Service<http::Request<Body>> for LoggedIn<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // The one that is ready is called; the clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let (executor, superusers) = (self.executor.clone(), self.superusers);
        Box::pin(async move {
            match login(&executor, request.headers(), superusers).await {
                Ok(login) => {
                    request.extensions_mut().insert(login);
                    inner.call(request).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_the_first_colon() {
        let of = |text: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(http::header::AUTHORIZATION, text.parse().unwrap());
            credentials(&headers)
        };
        let basic = |text: &str| of(&format!("Basic {}", STANDARD.encode(text)));
        assert_eq!(basic("a:b:c"), Some(("a".to_owned(), "b:c".to_owned())));
        for wrong in ["Bearer x", "Basic !", "Basic"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(basic("a"), None);
    }
}
