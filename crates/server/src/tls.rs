//! TLS towards clients: the same certificate for both protocols, on their usual ports.
//!
//! Invariant: with a certificate every client speaks TLS, 1.2 or 1.3; nothing is answered in the clear.

use crate::config::{ConfigError, TlsFiles};
use bytes::{BufMut, BytesMut};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// Bytes that wait for the socket in either direction.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// What servers need to speak TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    /// For the CQL native protocol.
    pub(crate) native: Arc<ServerConfig>,
    /// For gRPC.
    pub(crate) grpc: ServerTlsConfig,
}

fn problem(subject: &str, path: &Path) -> impl Fn(String) -> ConfigError {
    move |cause| ConfigError { subject: subject.to_owned(), message: format!("{}: {cause}", path.display()) }
}

fn certificates(subject: &str, path: &Path) -> Result<(Vec<CertificateDer<'static>>, Vec<u8>), ConfigError> {
    let problem = problem(subject, path);
    let pem = std::fs::read(path).map_err(|cause| problem(cause.to_string()))?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let parsed = parsed.map_err(|cause| problem(cause.to_string()))?;
    if parsed.is_empty() { Err(problem("there is no certificate in it".to_owned())) } else { Ok((parsed, pem)) }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or certificate and key do not belong together.
    pub(crate) fn load(files: &TlsFiles) -> Result<Tls, ConfigError> {
        let (chain, chain_pem) = certificates("tls_certificate", &files.certificate)?;
        let of_key = problem("tls_key", &files.key);
        let key_pem = std::fs::read(&files.key).map_err(|cause| of_key(cause.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|cause| of_key(cause.to_string()))?;
        let mut grpc = ServerTlsConfig::new().identity(Identity::from_pem(&chain_pem, &key_pem));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(|cause| of_key(cause.to_string()))?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let problem = problem("tls_client_ca", path);
                let (authorities, pem) = certificates("tls_client_ca", path)?;
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority).map_err(|cause| problem(cause.to_string()))?;
                }
                grpc = grpc.client_ca_root(Certificate::from_pem(pem));
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|cause| problem(cause.to_string()))?)
            }
        };
        let native = builder.with_single_cert(chain, key).map_err(|cause| of_key(cause.to_string()))?;
        Ok(Tls { native: Arc::new(native), grpc })
    }
}

/// A client's socket, of which nothing waits but [`Socket::readable`] and [`Socket::writable`].
pub(crate) struct Socket {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
}

/// Reads and writes as much as there is, as the standard library's traits.
struct Ready<'a>(&'a TcpStream);

impl Read for Ready<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket {
    /// A socket that was just accepted; with TLS if it is configured.
    ///
    /// # Errors
    /// When TLS cannot begin.
    pub(crate) fn new(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Socket> {
        let begin = |config: &Arc<ServerConfig>| {
            let mut connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            connection.set_buffer_limit(Some(BUFFER_BYTES_MAX));
            Ok::<_, io::Error>(Box::new(connection))
        };
        Ok(Socket { stream, tls: tls.map(begin).transpose()? })
    }

    /// Waits until [`Socket::read`] may get something.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Waits until [`Socket::write`] or [`Socket::flush`] may get rid of something.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Reads what is there; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; what is wrong with the socket or the TLS.
    pub(crate) fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.try_read_buf(buffer) };
        loop {
            let ended = tls.read_tls(&mut Ready(&self.stream))? == 0;
            if let Err(cause) = tls.process_new_packets() {
                // The client is told what is wrong, if it listens.
                let _ = tls.write_tls(&mut Ready(&self.stream));
                return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
            }
            let read = drain(&mut tls.reader(), buffer)?;
            if read > 0 || ended {
                return Ok(read);
            }
        }
    }

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; what is wrong with the socket.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.try_write(bytes) };
        let taken = tls.writer().write(bytes)?;
        match self.flush() {
            Err(cause) if cause.kind() != io::ErrorKind::WouldBlock => Err(cause),
            Err(cause) if taken == 0 => Err(cause),
            _ => Ok(taken),
        }
    }

    /// Writes what TLS has kept.
    ///
    /// # Errors
    /// `WouldBlock` when the socket does not take all of it; what is wrong with it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut Ready(&self.stream))?;
            }
        }
        Ok(())
    }

    /// True when TLS keeps nothing that is to be written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// Says that nothing more is written, and reads to the end.
    pub(crate) async fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            // What the socket does not take is lost with it.
            let _ = tls.write_tls(&mut Ready(&self.stream));
        }
        let _ = self.stream.shutdown().await;
        let mut bytes = vec![0; 4_096];
        while self.stream.readable().await.is_ok() {
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return,
                Err(cause) if cause.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }
}

/// Moves what was decrypted.
fn drain(reader: &mut rustls::Reader<'_>, buffer: &mut BytesMut) -> io::Result<usize> {
    let mut read = 0;
    loop {
        let count = match reader.fill_buf() {
            Ok(decrypted) => {
                buffer.put_slice(decrypted);
                decrypted.len()
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => 0,
            // A client that closes without saying so in TLS has still closed.
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(cause) => return Err(cause),
        };
        if count == 0 {
            return Ok(read);
        }
        reader.consume(count);
        read += count;
    }
}
