//! Whom a session trusts, and who it says that it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Request, Status};

/// TLS and credentials. By default there are neither.
#[derive(Clone, Default)]
pub struct Security {
    pub(crate) tls: Option<ClientTlsConfig>,
    pub(crate) credentials: Credentials,
}

impl Security {
    /// Speaks TLS with nodes whose certificates are of one of these authorities, given as PEM.
    #[must_use]
    pub fn trusting(mut self, authorities_pem: &[u8]) -> Security {
        let tls = self.tls.take().unwrap_or_default();
        self.tls = Some(tls.ca_certificate(Certificate::from_pem(authorities_pem)));
        self
    }

    /// Shows this certificate to nodes that want to see one; both are PEM.
    #[must_use]
    pub fn certified(mut self, certificate_pem: &[u8], key_pem: &[u8]) -> Security {
        let tls = self.tls.take().unwrap_or_default();
        self.tls = Some(tls.identity(Identity::from_pem(certificate_pem, key_pem)));
        self
    }

    /// Logs in with name and password. Without TLS whoever listens learns both.
    #[must_use]
    pub fn login(mut self, name: &str, password: &str) -> Security {
        let basic = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
        // Base64 is of characters that a header may have.
        let mut value = MetadataValue::try_from(basic).ok();
        if let Some(value) = &mut value {
            value.set_sensitive(true);
        }
        self.credentials = Credentials(value);
        self
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Security {{ tls: {}, login: {} }}", self.tls.is_some(), self.credentials.0.is_some())
    }
}

/// What every call carries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials(Option<MetadataValue<Ascii>>);

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A channel on which every call says who makes it.
pub(crate) type NamedChannel = InterceptedService<Channel, Credentials>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_carries_the_name_and_nothing_shows_the_password() {
        let security = Security::default().login("me", "secret:x");
        let request = security.credentials.clone().call(Request::new(())).unwrap();
        let header = request.metadata().get("authorization").unwrap().to_str().unwrap();
        assert_eq!(STANDARD.decode(header.strip_prefix("Basic ").unwrap()).unwrap(), b"me:secret:x");
        assert!(!format!("{security:?} {request:?}").contains(header));
        assert!(Credentials::default().call(Request::new(())).unwrap().metadata().is_empty());
    }
}
