//! What the command line and a file of settings ask for, put together: the command line wins.
//!
//! Invariant: what the server does not have yet is refused by name, not passed over.

use crate::configuration::Configuration;
use crate::format::Format;
use std::path::PathBuf;
use std::time::Duration;

/// The node that is connected to when none is named.
const HOST: &str = "127.0.0.1";

/// How long a statement may take; schema changes wait for the nodes to agree.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How long connecting to a node may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the command line asks for; what is `None` is as the file of settings says, or as usual.
#[derive(Clone, Debug, Default)]
pub struct ShellOptions {
    /// The node to connect to first, `HOST` or `HOST:PORT`.
    pub host: Option<String>,
    /// Statements to execute instead of reading standard input.
    pub execute: Option<String>,
    /// A file of statements to execute instead of reading standard input.
    pub file: Option<PathBuf>,
    /// How results are written.
    pub format: Format,
    /// The keyspace to begin with.
    pub keyspace: Option<String>,
    /// A file of settings in the form of cqlshrc.
    pub settings: Option<PathBuf>,
    /// How long a statement may take.
    pub request_timeout: Option<Duration>,
    /// How long connecting to a node may take.
    pub connect_timeout: Option<Duration>,
    /// Whether there are colours, whatever output is.
    pub color: Option<bool>,
    /// The encoding of input and output.
    pub encoding: Option<String>,
    /// Whether errors are shown with all their parts.
    pub debug: bool,
    /// Who to log in as.
    pub username: Option<String>,
    /// With which password.
    pub password: Option<String>,
    /// Whether to connect over TLS.
    pub tls: bool,
    /// The certificates, as PEM, of the authorities that are trusted then.
    pub tls_ca: Option<PathBuf>,
    /// The certificate, as PEM, that is shown to nodes that want to see one.
    pub tls_certificate: Option<PathBuf>,
    /// Its key, as PEM.
    pub tls_key: Option<PathBuf>,
}

/// What the shell goes by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) keyspace: Option<String>,
    pub(crate) format: Format,
    pub(crate) request_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) color: Option<bool>,
    pub(crate) debug: bool,
    /// The file of the authorities that are trusted, with TLS.
    pub(crate) tls_ca: Option<PathBuf>,
    /// The files of the certificate that is shown then, and of its key.
    pub(crate) tls_identity: Option<(PathBuf, PathBuf)>,
    pub(crate) login: Option<(String, String)>,
}

impl ShellOptions {
    /// The settings: of the command line, else of the file, else as usual.
    ///
    /// # Errors
    /// When the file is wrong, or something is asked for that is not supported.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        let file = match &self.settings {
            Some(path) => Configuration::read(path)?,
            None => Configuration::default(),
        };
        self.with_file(&file)
    }

    fn with_file(&self, file: &Configuration) -> Result<Settings, String> {
        let setting = |section: &str, name: &str| {
            let mut settings = file.section(section);
            settings.find(|(own, _)| *own == name).map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        let user = self.username.clone().or_else(|| setting("authentication", "username"));
        let password = self.password.clone().or_else(|| setting("authentication", "password"));
        let login = match (user, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => return Err("a user and a password go together: only one of them was given".to_owned()),
        };
        let tls = self.tls || setting("connection", "ssl").is_some_and(|value| truth(&value) != Some(false));
        let tls_ca = self.tls_ca.clone().or_else(|| setting("ssl", "certfile").map(PathBuf::from));
        let tls_ca = match tls_ca {
            Some(path) if tls || self.tls_ca.is_some() => Some(path),
            None if tls => {
                return Err("TLS needs the certificates to trust: --ssl-ca, or certfile in the section ssl".to_owned());
            }
            _ => None,
        };
        let certificate = self.tls_certificate.clone().or_else(|| setting("ssl", "usercert").map(PathBuf::from));
        let key = self.tls_key.clone().or_else(|| setting("ssl", "userkey").map(PathBuf::from));
        let tls_identity = match (certificate, key) {
            (Some(certificate), Some(key)) => tls_ca.is_some().then_some((certificate, key)),
            (None, None) => None,
            _ => return Err("a certificate and its key go together: --ssl-cert and --ssl-key".to_owned()),
        };
        if let Some(encoding) = self.encoding.clone().or_else(|| setting("ui", "encoding"))
            && !["utf8", "utf-8"].contains(&encoding.to_ascii_lowercase().as_str())
        {
            return Err(format!("the encoding '{encoding}' is not supported; there is UTF-8"));
        }
        let host = self.host.clone().or_else(|| {
            let host = setting("connection", "hostname");
            let port = setting("connection", "port");
            match port {
                Some(port) => Some(format!("{}:{port}", host.as_deref().unwrap_or(HOST))),
                None => host,
            }
        });
        let seconds = |name: &str| setting("connection", name).map(|value| timeout(name, &value)).transpose();
        let color = match setting("ui", "color") {
            Some(value) => Some(truth(&value).ok_or_else(|| format!("color = {value} is neither on nor off"))?),
            None => None,
        };
        Ok(Settings {
            host: host.unwrap_or_else(|| HOST.to_owned()),
            keyspace: self.keyspace.clone().or_else(|| setting("authentication", "keyspace")),
            format: self.format,
            request_timeout: self.request_timeout.or(seconds("request_timeout")?).unwrap_or(REQUEST_TIMEOUT),
            connect_timeout: self.connect_timeout.or(seconds("timeout")?).unwrap_or(CONNECT_TIMEOUT),
            color: self.color.or(color),
            debug: self.debug,
            tls_ca,
            tls_identity,
            login,
        })
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn timeout(name: &str, text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<u64>().ok().filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| format!("{name} = {text} is not a number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &ShellOptions, file: &str) -> Result<Settings, String> {
        options.with_file(&Configuration::parse(file).unwrap())
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = "[connection]\nhostname = a\nport = 1\nrequest_timeout = 7\ntimeout = 8\n[ui]\ncolor = off\n\
                    [authentication]\nkeyspace = ks\nusername =\n";
        let found = settings(&ShellOptions::default(), file).unwrap();
        assert_eq!((found.host.as_str(), found.keyspace.as_deref(), found.color), ("a:1", Some("ks"), Some(false)));
        let seconds = (found.request_timeout.as_secs(), found.connect_timeout.as_secs());
        assert_eq!(seconds, (7, 8));
        let options = ShellOptions {
            host: Some("b".into()),
            keyspace: Some("other".into()),
            request_timeout: Some(Duration::from_secs(1)),
            color: Some(true),
            ..ShellOptions::default()
        };
        let found = settings(&options, file).unwrap();
        assert_eq!((found.host.as_str(), found.keyspace.as_deref(), found.color), ("b", Some("other"), Some(true)));
        assert_eq!(found.request_timeout.as_secs(), 1);
        assert_eq!(settings(&ShellOptions::default(), "").unwrap().host, "127.0.0.1");
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let file = |text: &str| settings(&ShellOptions::default(), text).unwrap_err();
        assert!(file("[authentication]\nusername = me").contains("go together"));
        assert!(file("[connection]\nssl = true").contains("--ssl-ca"));
        assert!(file("[ui]\nencoding = latin1").contains("latin1"));
        assert!(file("[ui]\ncolor = maybe").contains("maybe"));
        assert!(file("[connection]\nrequest_timeout = soon").contains("soon"));
        let options = ShellOptions { tls: true, ..ShellOptions::default() };
        assert!(settings(&options, "").unwrap_err().contains("TLS"));
        let options = ShellOptions { password: Some("x".into()), ..ShellOptions::default() };
        assert!(settings(&options, "").unwrap_err().contains("go together"));
        let text = "[connection]\nssl = true\n[ssl]\ncertfile = ca.pem\n[authentication]\nusername = me\npassword = p";
        let found = settings(&ShellOptions::default(), text).unwrap();
        assert_eq!(found.login, Some(("me".to_owned(), "p".to_owned())));
        assert_eq!(found.tls_ca, Some(PathBuf::from("ca.pem")));
        let options = ShellOptions { tls_ca: Some("own.pem".into()), ..ShellOptions::default() };
        assert_eq!(settings(&options, "").unwrap().tls_ca, Some(PathBuf::from("own.pem")));
        let text = "[connection]\nssl = true\n[ssl]\ncertfile = ca.pem\nusercert = me.pem\nuserkey = me.key";
        let found = settings(&ShellOptions::default(), text).unwrap();
        assert_eq!(found.tls_identity, Some((PathBuf::from("me.pem"), PathBuf::from("me.key"))));
        let options = ShellOptions { tls_key: Some("own.key".into()), ..ShellOptions::default() };
        assert!(settings(&options, "").unwrap_err().contains("--ssl-cert"));
    }
}
