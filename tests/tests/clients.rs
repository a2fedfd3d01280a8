//! Drivers of others, unchanged, against real nodes: each runs its scenario of `tests/clients`, and the example that
//! the manual shows for it.
//!
//! Invariants:
//! * Nothing is installed or built within the repository: `CARGO_TARGET_TMPDIR` is where it goes.
//! * A driver whose tools or packages cannot be had is skipped, and the test says so; what was fetched must build, and
//!   what was built must pass.
//! * Every command has a time limit.

use crate::copy;
use e2e::Cluster;
use e2e::secured::{PASSWORD, authority, client_identity};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// Rows that cqlsh and the shell copy unless somebody asks for more.
const COPIED_ROWS: usize = 10_000;

/// Seconds that fetching packages, building a program or running it may take.
const SECONDS_MAX: u32 = 1_200;

/// A program that may not take longer than the limit.
fn limited(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &SECONDS_MAX.to_string(), program]);
    command
}

/// What belongs to a driver in the repository.
fn source(driver: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(driver)
}

/// Where a driver is installed and built.
fn place(driver: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(driver);
    std::fs::create_dir_all(&place).unwrap();
    place
}

/// Runs what a machine may lack the tools, or a way to the packages, for. None, said aloud, if it does.
fn fetch(driver: &str, command: &mut Command) -> Option<()> {
    let output = command.stdin(Stdio::null()).output();
    let reason = match output {
        Ok(output) if output.status.success() => return Some(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    };
    eprintln!("SKIPPED: the driver for {driver} cannot be installed: {command:?}: {reason}");
    None
}

/// Runs what must succeed once everything was fetched.
fn build(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{error}");
}

/// The drivers; each is installed once for all tests of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    Python,
    Java,
    Go,
    Node,
    Rust,
}

impl Driver {
    /// The language of its examples in the manual, and its folder.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Driver::Python => ("python", "python"),
            Driver::Java => ("java", "java"),
            Driver::Go => ("go", "go"),
            Driver::Node => ("javascript", "node"),
            Driver::Rust => ("rust", "rust"),
        }
    }

    /// Where it is installed, with its scenario built, if it can be.
    fn installed(self) -> Option<&'static Path> {
        static PLACES: [OnceLock<Option<PathBuf>>; 5] = [const { OnceLock::new() }; 5];
        let place = PLACES[self as usize].get_or_init(|| {
            let (_, name) = self.names();
            let place = place(name);
            self.install(name, &place)?;
            self.build(&place, &self.scenario());
            Some(place)
        });
        place.as_deref()
    }

    fn scenario(self) -> PathBuf {
        let file = match self {
            Driver::Python => "scenario.py",
            Driver::Java => "Scenario.java",
            Driver::Go => "scenario.go",
            Driver::Node => "scenario.js",
            Driver::Rust => "scenario.rs",
        };
        source(self.names().1).join(file)
    }

    fn install(self, name: &str, place: &Path) -> Option<()> {
        let source = source(name);
        match self {
            Driver::Python => {
                fetch(name, limited("python3").args(["-m", "venv"]).arg(place))?;
                let pip = place.join("bin/pip");
                let requirements = source.join("requirements.txt");
                let quiet = ["install", "--quiet", "--disable-pip-version-check", "--requirement"];
                fetch(name, limited(pip.to_str()?).args(quiet).arg(requirements))
            }
            Driver::Java => {
                let copy = ["--batch-mode", "--quiet", "dependency:copy-dependencies", "--file"];
                let to = format!("-DoutputDirectory={}", place.join("lib").display());
                fetch(name, limited("mvn").args(copy).arg(source.join("pom.xml")).arg(to))
            }
            Driver::Go => fetch(name, limited("go").args(["mod", "download"]).current_dir(&source)),
            Driver::Node => {
                for file in ["package.json", "package-lock.json"] {
                    std::fs::copy(source.join(file), place.join(file)).unwrap();
                }
                fetch(name, limited("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(place))
            }
            Driver::Rust => fetch(name, limited("cargo").args(["fetch", "--locked"]).current_dir(&source)),
        }
    }

    /// Builds the program `file`.
    fn build(self, place: &Path, file: &Path) {
        let stem = stem(file);
        match self {
            Driver::Python => {}
            // What it requires is looked for beside it.
            Driver::Node => drop(std::fs::copy(file, place.join(stem).with_extension("js")).unwrap()),
            Driver::Java => {
                let path = place.join("lib/*");
                build(limited("javac").arg("-cp").arg(path).arg("-d").arg(place.join("classes")).arg(file));
            }
            Driver::Go => {
                let program = place.join(stem);
                build(limited("go").args(["build", "-o"]).arg(program).arg(file).current_dir(source("go")));
            }
            Driver::Rust => {
                let mut command = limited("cargo");
                command.args(["build", "--locked", "--offline", "--quiet", "--bin", stem]).current_dir(source("rust"));
                build(command.env("CARGO_TARGET_DIR", place.join("target")).env("HELENUS_EXAMPLE", file));
            }
        }
    }

    /// The command that runs the program `file`, which is built.
    fn command(self, place: &Path, file: &Path) -> Command {
        let stem = stem(file);
        let (program, arguments) = match self {
            Driver::Python => (place.join("bin/python"), vec![file.display().to_string()]),
            Driver::Node => (PathBuf::from("node"), vec![place.join(stem).with_extension("js").display().to_string()]),
            Driver::Java => {
                let path = format!("{}:{}", place.join("lib/*").display(), place.join("classes").display());
                (PathBuf::from("java"), ["-Xmx256m", "-cp", &path, stem].map(str::to_owned).to_vec())
            }
            Driver::Go => (place.join(stem), Vec::new()),
            Driver::Rust => (place.join("target/debug").join(stem), Vec::new()),
        };
        let mut command = limited(program.to_str().unwrap());
        command.args(arguments);
        command
    }
}

fn extension(file: &Path) -> &str {
    file.extension().unwrap().to_str().unwrap()
}

fn stem(file: &Path) -> &str {
    file.file_stem().unwrap().to_str().unwrap()
}

/// Runs a scenario to its end, and does to the cluster what it asks for.
fn run(mut command: Command, cluster: &mut Cluster) {
    let addresses = cluster.addresses();
    let errors = cluster.folder().join("scenario.log");
    command.args(&addresses).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(std::fs::File::create(&errors).unwrap()).spawn().unwrap();
    let mut answers = child.stdin.take().unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let last = cluster.node(addresses.len() - 1);
        let is_asked = match line.as_str() {
            "KILL" => {
                last.kill();
                true
            }
            "START" => {
                last.start();
                true
            }
            _ => false,
        };
        if is_asked {
            // It may have ended: then its status says so.
            let _ = answers.write_all(b"\n");
        }
        said.push(line);
    }
    let status = child.wait().unwrap();
    let done = said.last().is_some_and(|line| line == "done");
    let errors = std::fs::read_to_string(errors).unwrap();
    assert!(status.success() && done, "{command:?}: {status}\n{}\n{errors}", said.join("\n"));
}

/// Runs the scenario of a driver against three nodes.
fn scenario(driver: Driver, variables: &[(&str, &str)]) {
    let Some(place) = driver.installed() else { return };
    let mut command = driver.command(place, &driver.scenario());
    command.envs(variables.iter().copied());
    run(command, &mut Cluster::start(3));
}

/// Runs the scenario of a driver against three nodes that want TLS and a password.
fn secured_scenario(driver: Driver) {
    let Some(place) = driver.installed() else { return };
    let mut cluster = Cluster::secured(3);
    let mut command = driver.command(place, &driver.scenario());
    command.env("HELENUS_CA", authority(&cluster));
    command.envs([("HELENUS_USER", "cassandra"), ("HELENUS_PASSWORD", PASSWORD)]);
    run(command, &mut cluster);
}

#[test]
fn the_python_driver_speaks_tls_and_logs_in() {
    secured_scenario(Driver::Python);
}

#[test]
fn the_python_driver_shows_a_certificate_where_nodes_want_one() {
    let Some(place) = Driver::Python.installed() else { return };
    let mut cluster = Cluster::secured_as(3, true);
    let (certificate, key) = client_identity(&cluster);
    let mut command = Driver::Python.command(place, &Driver::Python.scenario());
    command.env("HELENUS_CA", authority(&cluster)).env("HELENUS_CERTIFICATE", certificate).env("HELENUS_KEY", key);
    command.envs([("HELENUS_USER", "cassandra"), ("HELENUS_PASSWORD", PASSWORD)]);
    run(command, &mut cluster);
}

#[test]
fn the_shell_shows_a_certificate_where_nodes_want_one() {
    let cluster = Cluster::secured_as(1, true);
    let text = "SELECT key FROM system.local";
    let (succeeded, said) = shell(&cluster, "cassandra", PASSWORD, text);
    assert!(!succeeded && !said.contains("local"), "{said}");
    let (certificate, key) = client_identity(&cluster);
    let mut command = e2e::helenus(&["shell", &cluster.addresses()[0], "--format", "csv", "-e", text]);
    command.arg("--ssl-ca").arg(authority(&cluster)).arg("--ssl-cert").arg(certificate).arg("--ssl-key").arg(key);
    let output = command.args(["--username", "cassandra", "--password", PASSWORD]).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(out.lines().collect::<Vec<_>>(), ["key", "local"], "{error}");
}

#[test]
fn the_java_driver_speaks_tls_and_logs_in() {
    secured_scenario(Driver::Java);
}

#[test]
fn the_go_driver_speaks_tls_and_logs_in() {
    secured_scenario(Driver::Go);
}

#[test]
fn the_rust_driver_speaks_tls_and_logs_in() {
    secured_scenario(Driver::Rust);
}

#[test]
fn the_node_driver_speaks_tls_and_logs_in() {
    secured_scenario(Driver::Node);
}

/// What `helenus shell` says to `text` as somebody, and whether it succeeded.
fn shell(cluster: &Cluster, user: &str, password: &str, text: &str) -> (bool, String) {
    let mut command = e2e::helenus(&["shell", &cluster.addresses()[0], "--format", "csv", "-e", text]);
    command.arg("--ssl").arg("--ssl-ca").arg(authority(cluster));
    let output = command.args(["--username", user, "--password", password]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn roles_log_in_and_only_superusers_make_others() {
    let cluster = Cluster::secured(1);
    let shell = |user: &str, password: &str, text: &str| shell(&cluster, user, password, text);
    let refused = |user: &str, password: &str, text: &str, expected: &str| {
        let (succeeded, said) = shell(user, password, text);
        assert!(!succeeded && said.contains(expected), "{text}: {said}");
    };
    let done = |user: &str, password: &str, text: &str| {
        let (succeeded, said) = shell(user, password, text);
        assert!(succeeded, "{text}: {said}");
        said
    };
    refused("cassandra", "cassandra", "LIST ROLES", "Provided username cassandra and/or password are incorrect");
    done("cassandra", PASSWORD, "CREATE ROLE reader WITH PASSWORD = 'r' AND LOGIN = true; CREATE ROLE team");
    // A role of its name that is no superuser takes nothing from the first superuser, and gives nothing.
    done("cassandra", PASSWORD, "CREATE ROLE cassandra WITH PASSWORD = 'y' AND LOGIN = true");
    refused("cassandra", "y", "LIST ROLES", "Provided username cassandra and/or password are incorrect");
    done("cassandra", PASSWORD, "DROP ROLE IF EXISTS nobody; LIST ROLES");
    refused("reader", "x", "LIST ROLES", "Provided username reader and/or password are incorrect");
    refused("team", "", "LIST ROLES", "Provided username team and/or password are incorrect");
    assert_eq!(done("reader", "r", "LIST ROLES").lines().skip(1).collect::<Vec<_>>(), ["reader,False,True,{},ALL"]);
    refused("reader", "r", "CREATE ROLE x", "Only superusers");
    refused("reader", "r", "ALTER ROLE reader WITH SUPERUSER = true", "Only superusers");
    refused("reader", "r", "GRANT SELECT ON ALL KEYSPACES TO reader", "GRANT is not supported");
    done("reader", "r", "ALTER USER reader WITH PASSWORD 'other'");
    done("reader", "other", "SELECT * FROM system.local");
    done("cassandra", PASSWORD, "CREATE USER root WITH PASSWORD 'top' SUPERUSER");
    // There is another superuser: the first one's password has had its time.
    refused("cassandra", PASSWORD, "LIST ROLES", "Provided username cassandra and/or password are incorrect");
    assert_eq!(done("root", "top", "LIST USERS").lines().count(), 4);
    done("root", "top", "DROP ROLE reader; DROP ROLE IF EXISTS reader");
    refused("reader", "other", "LIST ROLES", "Provided username reader and/or password are incorrect");
    refused("root", "top", "DROP ROLE root", "Cannot DROP primary role for current login");
    refused("root", "top", "ALTER ROLE root WITH SUPERUSER = false", "alter your own superuser status");
    let costly =
        "ALTER ROLE root WITH HASHED PASSWORD = '$2b$31$nOUIs5kJ7naTuTFkBy1veuK0kSxUFXfuaOKdOKf9xYT0KKIGSJwFa'";
    refused("root", "top", costly, "Invalid hashed password value");
    // As long as bcrypt looks, and one more: it would be right by its beginning.
    let (fits, longer) = ("x".repeat(72), "x".repeat(73));
    done("root", "top", &format!("CREATE ROLE long WITH PASSWORD = '{fits}' AND LOGIN = true"));
    done("long", &fits, "SELECT key FROM system.local");
    refused("long", &longer, "SELECT key FROM system.local", "Provided username long and/or password are incorrect");
    let roles = done("root", "top", "SELECT role, is_superuser, salted_hash FROM system_auth.roles");
    assert!(roles.contains("root,True,") && !roles.contains("$2"), "{roles}");
    done("root", "top", "LOGIN root 'top'");
    refused("root", "top", "LOGIN root 'bottom'", "Provided username root and/or password are incorrect");
}

#[test]
fn the_python_driver_works_with_version_4() {
    scenario(Driver::Python, &[("HELENUS_VERSION", "4"), ("HELENUS_COMPRESSION", "snappy")]);
}

#[test]
fn the_python_driver_works_with_version_5() {
    scenario(Driver::Python, &[("HELENUS_VERSION", "5"), ("HELENUS_COMPRESSION", "lz4")]);
}

#[test]
fn the_java_driver_works_with_version_4() {
    scenario(Driver::Java, &[("HELENUS_VERSION", "4")]);
}

#[test]
fn the_java_driver_works_with_version_5() {
    scenario(Driver::Java, &[("HELENUS_VERSION", "5"), ("HELENUS_COMPRESSION", "lz4")]);
}

#[test]
fn the_go_driver_works() {
    scenario(Driver::Go, &[("HELENUS_COMPRESSION", "snappy")]);
}

#[test]
fn the_node_driver_works() {
    scenario(Driver::Node, &[]);
}

#[test]
fn the_rust_driver_works() {
    scenario(Driver::Rust, &[("HELENUS_COMPRESSION", "lz4")]);
}

#[test]
fn cqlsh_speaks_tls_and_logs_in() {
    let Some(place) = Driver::Python.installed() else { return };
    let cluster = Cluster::secured(1);
    let settings = cluster.folder().join("cqlshrc");
    let text = format!("[ssl]\ncertfile = {}\nvalidate = true\n", authority(&cluster).display());
    std::fs::write(&settings, text).unwrap();
    let settings = settings.display().to_string();
    let who = ["--ssl", "--cqlshrc", &settings, "--username", "cassandra", "--password", PASSWORD];
    let said = cqlsh(
        place,
        &cluster.addresses()[0],
        &who,
        "CREATE ROLE reader WITH PASSWORD = 'r' AND LOGIN = true; LIST ROLES; LIST USERS",
    );
    assert_eq!(said.matches("reader").count(), 2, "{said}");
}

/// What cqlsh says to `text`, which must succeed.
fn cqlsh(place: &Path, host: &str, who: &[&str], text: &str) -> String {
    let mut command = limited(place.join("bin/cqlsh").to_str().unwrap());
    command.args(who);
    let output = command
        .args(["--connect-timeout=60", "--request-timeout=60", host, "-e", text])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{out}\n{error}");
    out.into_owned()
}

#[test]
fn cqlsh_describes_copies_and_traces() {
    let Some(place) = Driver::Python.installed() else { return };
    let cluster = Cluster::start(3);
    let cqlsh = |text: &str| cqlsh(place, &cluster.addresses()[0], &[], text);
    cqlsh(
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3};
         CREATE TYPE k.u (a int, \"B\" text);
         CREATE TABLE k.t (a int, b text, c list<frozen<u>>, PRIMARY KEY (a, b)) WITH comment = 'it''s';",
    );
    assert!(cqlsh("DESCRIBE CLUSTER").contains("Murmur3Partitioner"));
    assert!(cqlsh("USE k; DESCRIBE CLUSTER").contains("Range ownership"));
    assert!(cqlsh("DESCRIBE KEYSPACES").contains("system_schema"));
    assert!(cqlsh("DESCRIBE FULL SCHEMA").contains("CREATE TABLE system.local"));
    let described = cqlsh("DESCRIBE KEYSPACE k");
    assert!(described.contains("CREATE TYPE k.u") && described.contains("comment = 'it''s'"), "{described}");
    cqlsh(&format!("DROP KEYSPACE k; {}", described.trim()));
    assert_eq!(cqlsh("DESCRIBE SCHEMA"), described, "what is described can be created again");

    let (from, to) = (cluster.folder().join("from.csv"), cluster.folder().join("to.csv"));
    let line = |row: u32| format!("{row},\"name, {row}\",\"[{{a: {row}, B: 'x'}}]\"\r\n");
    std::fs::write(&from, (0..2_000).map(line).collect::<String>()).unwrap();
    let copied = cqlsh(&format!("COPY k.t (a, b, c) FROM '{}'", from.display()));
    assert!(copied.contains("2000 rows imported from 1 files") && copied.contains("(0 skipped)"), "{copied}");
    assert!(cqlsh("SELECT count(*) FROM k.t").contains(" 2000"));
    let copied = cqlsh(&format!("COPY k.t (a, b, c) TO '{}'", to.display()));
    assert!(copied.contains("2000 rows exported to 1 files"), "{copied}");
    let sorted = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&to), sorted(&from));

    let traced = cqlsh("TRACING ON; INSERT INTO k.t (a, b) VALUES (1, 'traced'); SELECT b FROM k.t WHERE a = 1");
    assert_eq!(traced.matches("Tracing session: ").count(), 2, "{traced}");
    assert!(traced.contains("Sending the write to") && traced.contains("Request complete"), "{traced}");
}

/// Both copy what is in one file into a cluster and out again, at one level; what each says of its rate is printed.
#[test]
fn cqlsh_and_the_shell_copy_the_same_file() {
    let Some(place) = Driver::Python.installed() else { return };
    let rows = copy::rows_wanted(COPIED_ROWS);
    let (cluster, file) = copy::prepare(rows);
    let out = cluster.folder().join("out.csv");
    for name in ["cqlsh", "helenus shell"] {
        let run = |text: &str| match name {
            "cqlsh" => cqlsh(place, &cluster.addresses()[0], &[], text),
            _ => copy::succeed(&cluster, text),
        };
        run("TRUNCATE k.flights");
        let import = format!("COPY k.flights FROM '{}' WITH HEADER = TRUE", file.display());
        let imported = run(&format!("CONSISTENCY QUORUM; {import}"));
        assert!(imported.contains(&format!("{rows} rows imported")), "{name}: {imported}");
        let exported = run(&copy::EXPORT.replace("out.csv", &out.display().to_string()));
        assert!(exported.contains(&format!("{rows} rows exported")), "{name}: {exported}");
        assert!(copy::is_same(&file, &out), "{name}: every line comes back as it was");
        std::fs::remove_file(&out).unwrap();
        for said in [imported, exported] {
            // Lines of progress overwrite each other.
            let last = said.split(['\r', '\n']).rfind(|line| line.contains("rows/s")).unwrap_or_default();
            eprintln!("{name}: {last}");
        }
    }
}

/// The fenced block of `language` in the manual's page of drivers, with `address` in place of its own.
fn example(language: &str, address: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/drivers.md");
    let page = std::fs::read_to_string(page).unwrap();
    let begin = format!("\n```{language}\n");
    let block = page.split(&begin).nth(1).unwrap_or_else(|| panic!("there is no example in {language}"));
    block.split("\n```\n").next().unwrap().replace("127.0.0.1", address)
}

#[test]
fn the_examples_of_the_manual_work() {
    let cluster = Cluster::start(1);
    for driver in [Driver::Python, Driver::Java, Driver::Go, Driver::Node, Driver::Rust] {
        let Some(place) = driver.installed() else { continue };
        let name = driver.scenario();
        let name = format!("{}xample.{}", if driver == Driver::Java { "E" } else { "e" }, extension(&name));
        let file = cluster.folder().join(name);
        std::fs::write(&file, example(driver.names().0, &cluster.addresses()[0])).unwrap();
        driver.build(place, &file);
        let output = driver.command(place, &file).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "lamp", "{driver:?}: {error}");
    }
}

#[test]
fn the_tables_by_which_drivers_find_the_cluster_are_read_through_the_own_api_too() {
    let mut cluster = Cluster::start(1);
    let node = cluster.node(0);
    let local = node.rows("SELECT key, bootstrapped, cql_version FROM system.local");
    assert_eq!(local, serde_json::json!([{"key": "local", "bootstrapped": "COMPLETED", "cql_version": "3.4.7"}]));
    let count = node.rows("SELECT count(*) FROM system_schema.keyspaces WHERE keyspace_name = 'system'");
    assert_eq!(count, serde_json::json!([{"count": 1}]));
}

fn connect(cluster: &Cluster) -> TcpStream {
    let stream = TcpStream::connect((cluster.addresses()[0].as_str(), 9042)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// What the node answers until it closes the connection.
fn answer(cluster: &Cluster, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(cluster);
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_not_of_the_protocol_is_told_so_and_the_connection_ends() {
    let cluster = Cluster::start(1);
    let foreign = answer(&cluster, &[66, 0, 0, 9, 5, 0, 0, 0, 0]);
    assert_eq!(&foreign[..5], &[0x85, 0, 0, 9, 0], "an error of version 5 on the stream of the request");
    let text = String::from_utf8_lossy(&foreign);
    assert!(
        text.contains("Invalid or unsupported protocol version (66); supported versions are (4/v4, 5/v5)"),
        "{text}"
    );
    let http = answer(&cluster, b"GET / HTTP/1.1\r\n\r\n");
    assert!(String::from_utf8_lossy(&http).contains("unsupported protocol version"));
    // A length of 256 MiB, of which nothing comes.
    let long = answer(&cluster, &[4, 0, 0, 1, 7, 0x10, 0, 0, 0]);
    assert!(String::from_utf8_lossy(&long).contains("Request is too big"));
    // A statement before STARTUP is refused, and the connection goes on.
    let mut stream = connect(&cluster);
    stream.write_all(&[4, 0, 0, 1, 11, 0, 0, 0, 2, 0, 0]).unwrap();
    let mut header = [0; 9];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(&header[..5], &[0x84, 0, 0, 1, 0]);
    let mut body = vec![0; u32::from_be_bytes(header[5..].try_into().unwrap()) as usize];
    stream.read_exact(&mut body).unwrap();
    assert!(String::from_utf8_lossy(&body).contains("Unexpected message REGISTER"));
    stream.write_all(&[4, 0, 0, 2, 5, 0, 0, 0, 0]).unwrap();
    stream.read_exact(&mut header).unwrap();
    assert_eq!(&header[..5], &[0x84, 0, 0, 2, 6], "OPTIONS is answered by SUPPORTED");
}
