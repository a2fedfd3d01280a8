//! The applications in `examples/`, against three nodes of which one is killed in the middle: what their README shows
//! is executed, and two terminals of each see each other.

use e2e::{Cluster, PATIENCE};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// The folder of the binaries.
fn folder() -> PathBuf {
    let folder = e2e::binary().parent().expect("a binary is in a folder").to_owned();
    for name in ["lock", "chat", "sensors"] {
        assert!(folder.join(name).exists(), "{name} is missing: cargo build --release --package examples");
    }
    folder
}

fn command(cluster: &Cluster, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    let path = format!("{}:{}", folder().display(), std::env::var("PATH").unwrap_or_default());
    // What a program says when it fails is compared.
    command.env("RUST_BACKTRACE", "0");
    command.env("PATH", path).env("HELENUS_HOSTS", cluster.addresses().join(","));
    command
}

/// A section of the README: its heading, and the commands of each of its blocks with what they print.
type Section = (String, Vec<Vec<(String, Vec<String>)>>);

fn sections() -> Vec<Section> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/README.md");
    let text = std::fs::read_to_string(path).expect("examples have a README");
    let mut sections: Vec<Section> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            sections.push((heading.to_owned(), Vec::new()));
        }
        if line == "```console" {
            let mut block: Vec<(String, Vec<String>)> = Vec::new();
            for line in lines.by_ref().take_while(|line| *line != "```") {
                match (line.strip_prefix("$ "), block.last_mut()) {
                    (Some(command), _) => block.push((command.to_owned(), Vec::new())),
                    (None, Some((_, printed))) => printed.push(line.to_owned()),
                    (None, None) => panic!("'{line}' is printed by no command"),
                }
            }
            sections.last_mut().expect("a block is in a section").1.push(block);
        }
    }
    sections
}

#[test]
fn the_readme_of_the_examples_does_what_it_says_while_a_node_is_killed() {
    let mut cluster = Cluster::start(3);
    let sections = sections();
    assert_eq!(sections.len(), 3, "one for each application");
    for (place, (heading, blocks)) in sections.into_iter().enumerate() {
        assert!(blocks.len() >= 2, "'{heading}' shows too little");
        // One shell for the whole section, which says where each command ends.
        let mut shell = command(&cluster, "sh");
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut input = shell.stdin.take().unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap()).lines();
        for (number, block) in blocks.into_iter().enumerate() {
            if number == 1 {
                cluster.node(place % 3).kill();
            }
            for (text, mut expected) in block {
                writeln!(input, "{{ {text}\n}} 2>&1 < /dev/null; echo '=== ends'").unwrap();
                let printed = output.by_ref().map(Result::unwrap).take_while(|line| line != "=== ends");
                let mut printed: Vec<String> = printed.collect();
                // Of a chat it is not said whether a page of history or a new message comes first.
                printed.sort_unstable();
                expected.sort_unstable();
                assert_eq!(printed, expected, "{heading}: {text}");
            }
        }
        drop(input);
        shell.wait().unwrap();
        cluster.node(place % 3).start();
        cluster.wait_up(3);
    }
}

/// A program in a terminal; killed when it is dropped.
struct Terminal {
    child: Child,
    input: Option<ChildStdin>,
    printed: Receiver<String>,
}

impl Terminal {
    fn open(cluster: &Cluster, program: &str, arguments: &[&str]) -> Terminal {
        let mut command = command(cluster, folder().join(program));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let (sender, printed) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let input = child.stdin.take();
        Terminal { child, input, printed }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("it is open"), "{line}").unwrap();
    }

    /// Waits until a line is printed that starts so, and gives back the rest of it.
    fn shows(&self, start: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.printed.recv_timeout(left).unwrap_or_else(|_| panic!("'{start}' is not shown"));
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_terminals_of_the_chat_see_each_other_while_a_node_is_killed() {
    let mut cluster = Cluster::start(3);
    let mut ada = Terminal::open(&cluster, "chat", &["--room", "rust", "--name", "ada"]);
    ada.shows("* ada is in rust");
    let mut bob = Terminal::open(&cluster, "chat", &["--room", "rust", "--name", "bob"]);
    bob.shows("* bob is in rust");
    ada.types("hello");
    bob.shows("<ada> hello");
    bob.types("hi");
    ada.shows("<bob> hi");
    ada.types("/who");
    ada.shows("* here: ada, bob");
    cluster.node(1).kill();
    for number in 0..5 {
        ada.types(&format!("question {number}"));
        bob.shows(&format!("<ada> question {number}"));
        bob.types(&format!("answer {number}"));
        ada.shows(&format!("<bob> answer {number}"));
    }
    drop(bob);
    // Who is gone is not there any more some time.
    let until = Instant::now() + PATIENCE;
    loop {
        ada.types("/who");
        if ada.shows("* here: ") == "ada" {
            break;
        }
        assert!(Instant::now() < until, "bob is still said to be there");
    }
}

#[test]
fn another_one_leads_when_the_leader_dies_while_a_node_is_killed() {
    let mut cluster = Cluster::start(3);
    let ada = Terminal::open(&cluster, "lock", &["lead", "jobs", "--owner", "ada"]);
    assert_eq!(ada.shows("ada leads jobs with token "), "1");
    let bob = Terminal::open(&cluster, "lock", &["lead", "jobs", "--owner", "bob"]);
    cluster.node(2).kill();
    drop(ada);
    assert_eq!(bob.shows("bob leads jobs with token "), "2");
    let eve = Terminal::open(&cluster, "lock", &["lead", "jobs", "--owner", "eve"]);
    cluster.node(2).start();
    cluster.wait_up(3);
    drop(bob);
    assert_eq!(eve.shows("eve leads jobs with token "), "3");
}
