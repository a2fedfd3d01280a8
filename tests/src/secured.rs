//! Clusters whose clients must speak TLS and log in.

use crate::Cluster;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::path::PathBuf;

/// The password of the first superuser.
pub const PASSWORD: &str = "first: of all";

/// Where the certificate of the authority is that certified the nodes of a cluster.
#[must_use]
pub fn authority(cluster: &Cluster) -> PathBuf {
    cluster.folder().join("ca.pem")
}

/// Where the certificate of a client of a cluster is, and its key.
#[must_use]
pub fn client_identity(cluster: &Cluster) -> (PathBuf, PathBuf) {
    (cluster.folder().join("client.pem"), cluster.folder().join("client.key"))
}

impl Cluster {
    /// A cluster of `count` running nodes with certificates, whose clients must log in.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn secured(count: usize) -> Cluster {
        Cluster::secured_as(count, false)
    }

    /// The same; with `certified` clients must have a certificate of the same authority, as
    /// [`client_identity`] is.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn secured_as(count: usize, certified: bool) -> Cluster {
        let mut cluster = Cluster::configured(count, "");
        let file = |name: &str| cluster.folder().join(name);
        let write = |name: &str, text: &str| std::fs::write(file(name), text).expect("the file is written");
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::<String>::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "authority");
        write("ca.pem", &authority.self_signed(&authority_key).expect("a certificate").pem());
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(cluster.addresses()).expect("addresses are names");
        write("node.pem", &certificate.signed_by(&key, &issuer).expect("a certificate").pem());
        write("node.key", &key.serialize_pem());
        let client_key = KeyPair::generate().expect("a key");
        let client = CertificateParams::new(Vec::<String>::new()).expect("no names");
        write("client.pem", &client.signed_by(&client_key, &issuer).expect("a certificate").pem());
        write("client.key", &client_key.serialize_pem());
        write("password", &format!("{PASSWORD}\n"));
        let config = file("helenus.toml");
        let mut text = std::fs::read_to_string(&config).expect("the configuration was written");
        for (setting, name) in
            [("tls_certificate", "node.pem"), ("tls_key", "node.key"), ("superuser_password_file", "password")]
        {
            text.push_str(&format!("{setting} = {:?}\n", file(name)));
        }
        if certified {
            text.push_str(&format!("tls_client_ca = {:?}\n", file("ca.pem")));
        }
        std::fs::write(config, text).expect("the configuration is written");
        let arguments = [
            ("--ssl-ca", file("ca.pem").display().to_string()),
            ("--user", "cassandra".to_owned()),
            ("--password-file", file("password").display().to_string()),
            ("--ssl-cert", file("client.pem").display().to_string()),
            ("--ssl-key", file("client.key").display().to_string()),
        ];
        let arguments: Vec<String> = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        for node in &mut cluster.nodes {
            node.admin.clone_from(&arguments);
            node.start();
        }
        cluster.wait_up(count);
        cluster
    }
}
