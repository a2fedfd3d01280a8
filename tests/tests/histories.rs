//! Real processes under faults, and the histories of their clients checked: nodes are killed and stopped, cut off from
//! each other, with wrong clocks and slow disks, while clients do what `e2e::histories` says.
//!
//! `HELENUS_SECONDS` and `HELENUS_SEED` say for how long, and from which seed: see `cargo xtask soak histories`.

use e2e::fault_proxy::Rule;
use e2e::histories::{Checked, Outcome, Run, bank, counters, floors, registers, sets};
use e2e::nemesis::Nemesis;
use e2e::{Cluster, PATIENCE};
use model::{Consistency, Rng};
use sim::oracle::coverage::Replicas;
use sim::oracle::linearizability::{Entry, RegisterOperation};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Seconds under faults unless told otherwise: of one data centre, and of two.
const SECONDS: u64 = 40;
const SECONDS_ACROSS: u64 = 30;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// All workloads, on one cluster.
struct Workloads {
    run: Arc<Run>,
    registers: Arc<registers::Registers>,
    bank: Arc<bank::Bank>,
    sets: Arc<sets::Sets>,
    counters: Arc<counters::Counters>,
    floors: Arc<floors::Registers>,
    clients: Vec<JoinHandle<()>>,
}

impl Workloads {
    async fn start(addresses: &[String], centers: usize, seed: u64) -> Workloads {
        let tables = [registers::TABLE, bank::TABLE, sets::TABLE, counters::TABLE, floors::TABLE];
        let run = Run::start(addresses, centers, &tables).await.unwrap();
        let mut workloads = Workloads {
            registers: registers::Registers::new(run.clone()),
            bank: bank::Bank::new(run.clone()),
            sets: sets::Sets::new(run.clone()),
            counters: counters::Counters::new(run.clone()),
            floors: floors::Registers::new(run.clone()),
            run,
            clients: Vec::new(),
        };
        let mut rng = Rng::new(seed);
        let (registers, bank, sets) = (workloads.registers.clone(), workloads.bank.clone(), workloads.sets.clone());
        let (counters, floors) = (workloads.counters.clone(), workloads.floors.clone());
        let clients = &mut workloads.clients;
        spawn(clients, registers::Registers::clients(), &mut rng, |client, rng| registers.clone().work(client, rng));
        spawn(clients, bank::Bank::clients(), &mut rng, |client, rng| bank.clone().work(client, rng));
        spawn(clients, sets::Sets::clients(), &mut rng, |client, rng| sets.clone().work(client, rng));
        spawn(clients, counters::Counters::clients(), &mut rng, |client, rng| counters.clone().work(client, rng));
        spawn(clients, floors::Registers::clients(), &mut rng, |client, rng| floors.clone().work(client, rng));
        workloads
    }

    /// Waits until every client is served again, and ends them.
    async fn progress(&mut self) -> Result<(), String> {
        let began = Instant::now();
        while self.run.served().len() < self.clients.len() && began.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let served = self.run.served();
        self.run.stop();
        // Those that try until they are answered are, in time, or have nothing to show.
        let (run, giving_up) = (self.run.clone(), began + PATIENCE);
        let giving_up = tokio::spawn(async move {
            tokio::time::sleep_until(giving_up.into()).await;
            run.abandon();
        });
        let clients = self.clients.len();
        for client in self.clients.drain(..) {
            client.await.map_err(|error| format!("a client has failed: {error}"))?;
        }
        giving_up.abort();
        if served.len() < clients {
            return Err(format!("{} of {clients} clients alone are served after healing: {served:?}", served.len()));
        }
        Ok(())
    }

    async fn finish(&self) -> Result<(), String> {
        self.registers.finish().await?;
        self.bank.finish().await?;
        self.sets.finish().await?;
        self.counters.finish().await?;
        self.floors.finish().await
    }

    fn check(&self) -> Vec<(&'static str, Checked)> {
        vec![
            ("registers", self.registers.check()),
            ("bank", self.bank.check()),
            ("sets", self.sets.check()),
            ("counters", self.counters.check()),
            ("plain registers", self.floors.check()),
        ]
    }
}

fn spawn<F: Future<Output = ()> + Send + 'static>(
    clients: &mut Vec<JoinHandle<()>>,
    count: usize,
    rng: &mut Rng,
    work: impl Fn(usize, Rng) -> F,
) {
    clients.extend((0..count).map(|client| tokio::spawn(work(client, rng.fork()))));
}

/// Runs all workloads on a cluster under attack, heals it, and checks everything.
fn campaign(data_centers: &[usize], seconds: u64) {
    let seed = setting("HELENUS_SEED", 1);
    let time = Duration::from_secs(setting("HELENUS_SECONDS", seconds));
    let mut nemesis = Nemesis::start(data_centers);
    let runtime = runtime();
    let addresses = nemesis.cluster.addresses();
    let mut workloads = runtime.block_on(Workloads::start(&addresses, data_centers.len(), seed));
    nemesis.began(workloads.run.began());
    let mut attack_and_heal = || {
        nemesis.attack(seed, time)?;
        nemesis.heal()?;
        workloads.run.healed();
        runtime.block_on(workloads.progress())?;
        nemesis.converge()?;
        runtime.block_on(workloads.finish())
    };
    let mut findings: Vec<String> = attack_and_heal().err().into_iter().collect();
    workloads.run.abandon();
    findings.extend(nemesis.findings());
    findings.extend(workloads.run.odd().into_iter().map(|odd| format!("no fault explains this answer: {odd}")));
    let (mut operations, mut told) = (0, Vec::new());
    for (name, checked) in workloads.check() {
        operations += checked.operations;
        told.push(format!("{name} {} ({} unknown)", checked.operations, checked.unknown));
        findings.extend(checked.violations);
    }
    eprintln!("seed {seed}, {} nodes, {time:?} under faults: {:?}", nemesis.count(), nemesis.counts());
    eprintln!("operations by workload: {}", told.join(", "));
    eprintln!("operations checked: {operations}");
    assert!(findings.is_empty(), "{}", report(&mut nemesis, seed, &findings));
    assert!(operations > 20 * time.as_secs() as usize, "{operations} operations are few");
}

/// What is told of a run that has failed. It is in the folder of the cluster too, which is kept with logs and data.
fn report(nemesis: &mut Nemesis, seed: u64, findings: &[String]) -> String {
    let folder = nemesis.cluster.keep().to_owned();
    let story = nemesis.story();
    let text = format!("seed {seed}\n\n{story}\n{}\n", findings.join("\n\n"));
    std::fs::write(folder.join("findings.txt"), &text).unwrap();
    format!("{text}\nseed {seed}: data, logs and these findings are in {}", folder.display())
}

#[test]
fn three_nodes_keep_their_promises_under_faults() {
    campaign(&[3], SECONDS);
}

#[test]
fn two_data_centers_keep_their_promises_under_faults() {
    campaign(&[3, 3], SECONDS_ACROSS);
}

/// The nodes that a node sees up.
fn seen_up(cluster: &mut Cluster, node: usize) -> usize {
    let status = cluster.node(node).status();
    let nodes = status.as_ref().and_then(|status| status["nodes"].as_array());
    nodes.map_or(0, |nodes| nodes.iter().filter(|node| node["up"] == true).count())
}

#[test]
fn what_the_proxies_cut_is_cut_and_machines_have_their_own_clocks() {
    let mut nemesis = Nemesis::start(&[3]);
    for (from, to) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
        nemesis.proxy.set(from, to, if to == 2 { Rule::Held } else { Rule::Refused });
    }
    let began = Instant::now();
    while [seen_up(&mut nemesis.cluster, 0), seen_up(&mut nemesis.cluster, 2)] != [2, 1] {
        assert!(began.elapsed() < PATIENCE, "a node that is cut off is seen up");
        std::thread::sleep(Duration::from_millis(50));
    }
    nemesis.heal().unwrap();
    // A day ahead. The shell asks its nodes in turn, so it is asked often enough that this one answers too.
    let day = 86_400_000_000;
    nemesis.set_clock(1, day);
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    nemesis.cluster.node(1).wait("its clock is a day ahead", |node| {
        let answers = node.cql(&"SELECT to_unix_timestamp(now()) AS millis FROM system.local;".repeat(6));
        let answers = String::from_utf8_lossy(&answers.stdout).into_owned();
        let rows = answers.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut millis = rows.filter_map(|rows| rows[0]["millis"].as_i64());
        Some(millis.any(|millis| millis * 1_000 > elapsed.as_micros() as i64 + day / 2))
    });
    assert_eq!(nemesis.findings(), Vec::<String>::new());
}

/// An operation on a register that took from one time to another.
fn entry<O>(called: u64, returned: u64, operation: O) -> Entry<O> {
    Entry { called, returned: Some(returned), operation }
}

fn one<T>(history: T) -> BTreeMap<i32, T> {
    BTreeMap::from([(7, history)])
}

#[test]
fn a_false_history_of_a_register_is_found() {
    let set = |from: Option<u64>, to, applied| RegisterOperation::CompareAndSet {
        from,
        to: Some(to),
        applied: Some(applied),
        shown: None,
    };
    let good = vec![
        entry(0, 10, set(None, 1, true)),
        entry(5, 12, RegisterOperation::Read(None)),
        entry(20, 30, set(Some(1), 2, true)),
        Entry { called: 21, returned: None, operation: set(Some(2), 3, true) },
        entry(40, 50, RegisterOperation::Read(Some(2))),
    ];
    assert_eq!(registers::check_history(&one(good.clone())).violations, Vec::<String>::new());
    for bad in [
        entry(60, 70, RegisterOperation::Read(Some(1))),
        entry(60, 70, RegisterOperation::Read(Some(9))),
        entry(60, 70, set(Some(1), 4, true)),
        entry(60, 70, set(Some(2), 4, false)),
    ] {
        let checked = registers::check_history(&one([&good[..3], &good[4..], &[bad]].concat()));
        assert_eq!(checked.violations.len(), 1, "{bad:?}");
        assert!(checked.violations[0].contains("register 7"), "{checked:?}");
    }
}

#[test]
fn a_false_history_of_a_bank_is_found() {
    use bank::BankOperation::{Open, Read, Transfer};
    let good = vec![
        entry(0, 10, Open { applied: Some(true) }),
        entry(5, 12, Read(None)),
        entry(20, 30, Transfer { from: (0, 100), to: (1, 100), amount: 10, applied: Some(true) }),
        entry(40, 50, Read(Some(vec![90, 110, 100, 100]))),
        // Nobody knows whether it was, and it cannot have been.
        Entry {
            called: 45,
            returned: None,
            operation: Transfer { from: (0, 1), to: (1, 1), amount: 1, applied: None },
        },
    ];
    assert_eq!(bank::check_history(&one(good.clone())).violations, Vec::<String>::new());
    for (bad, violations) in [
        (Read(Some(vec![90, 100, 100, 100])), 2),
        (Read(Some(vec![100, 100, 100, 100])), 1),
        (Read(None), 1),
        (Open { applied: Some(true) }, 1),
        (Transfer { from: (0, 100), to: (1, 100), amount: 10, applied: Some(true) }, 1),
        (Transfer { from: (0, 90), to: (1, 110), amount: 10, applied: Some(false) }, 1),
    ] {
        let checked = bank::check_history(&one([&good[..], &[entry(60, 70, bad.clone())]].concat()));
        assert_eq!(checked.violations.len(), violations, "{bad:?}: {checked:?}");
    }
}

#[test]
fn a_false_history_of_a_set_is_found() {
    let add = |element, called, returned, outcome| sets::Addition { element, called, returned, outcome };
    let look = |called, seen: &[i64]| sets::Look { called, returned: called + 5, seen: seen.iter().copied().collect() };
    let additions = vec![
        add(1, 0, 10, Outcome::Done(())),
        add(2, 0, 10, Outcome::Unknown),
        add(3, 0, 10, Outcome::Nothing),
        add(4, 100, 110, Outcome::Done(())),
    ];
    let violations = |looks: &[sets::Look]| {
        let history = sets::SetHistory { additions: additions.clone(), looks: looks.to_vec() };
        sets::check_history(&one(history)).violations.len()
    };
    assert_eq!(violations(&[look(20, &[1]), look(30, &[1, 2]), look(104, &[1, 2]), look(120, &[1, 2, 4])]), 0);
    assert_eq!(violations(&[look(20, &[])]), 1, "an acknowledged element is lost");
    assert_eq!(violations(&[look(20, &[1, 3])]), 1, "what was refused is there");
    assert_eq!(violations(&[look(20, &[1, 9])]), 1, "nobody added it");
    assert_eq!(violations(&[look(20, &[1, 4])]), 1, "it is from the future");
    assert_eq!(violations(&[look(20, &[1, 2]), look(30, &[1])]), 1, "what was seen is unseen");
}

#[test]
fn a_false_history_of_a_counter_is_found() {
    use counters::CounterOperation::{Add, Read};
    let at = |called, returned, operation, outcome| counters::Entry { called, returned, operation, outcome };
    let additions = [
        at(0, 10, Add(5), Outcome::Done(())),
        at(0, 10, Add(3), Outcome::Unknown),
        at(0, 10, Add(1), Outcome::Nothing),
    ];
    let violations = |reads: &[(u64, i64)]| {
        let reads = reads.iter().map(|(called, seen)| at(*called, called + 5, Read(*seen), Outcome::Done(())));
        let history: Vec<counters::Entry> = additions.iter().copied().chain(reads).collect();
        counters::check_history(&one(history)).violations.len()
    };
    assert_eq!(violations(&[(20, 5), (30, 8)]), 0);
    assert_eq!(violations(&[(20, 4)]), 1, "what was acknowledged is not there");
    assert_eq!(violations(&[(20, 9)]), 1, "it was counted twice, or what was refused was");
    assert_eq!(violations(&[(20, 8), (30, 5)]), 1, "it goes back");
    assert_eq!(violations(&[(4, 0)]), 0, "at the same time anything between is right");
}

#[test]
fn a_false_history_of_plain_registers_is_found() {
    use Consistency::{EachQuorum, LocalQuorum, One, Quorum};
    use floors::FloorOperation::{Read, Write};
    let replicas = Replicas(vec![3, 3]);
    let at = |called, level, center, operation| {
        let outcome = Outcome::Done(());
        floors::Entry { called, returned: called + 5, level, center, operation, outcome }
    };
    let violations =
        |history: &[floors::Entry]| floors::check_history(&replicas, &one(history.to_vec())).violations.len();
    let read = |called, level, center, seen| at(called, level, center, Read(seen));
    for (write, read_at, center, bound) in [
        (Quorum, Quorum, 0, true),
        (LocalQuorum, LocalQuorum, 0, true),
        (LocalQuorum, LocalQuorum, 1, false),
        (EachQuorum, LocalQuorum, 1, true),
        (LocalQuorum, EachQuorum, 1, true),
        (Quorum, LocalQuorum, 1, false),
        (Quorum, One, 0, false),
    ] {
        let written = [at(0, write, 0, Write(1)), at(10, write, 0, Write(2))];
        for (seen, wrong) in [(Some(2), false), (Some(1), bound), (None, bound)] {
            let history = [&written[..], &[read(20, read_at, center, seen)]].concat();
            assert_eq!(violations(&history), usize::from(wrong), "{write:?}, {read_at:?}: {seen:?}");
        }
    }
    let tried = floors::Entry { outcome: Outcome::Unknown, ..at(0, Quorum, 0, Write(1)) };
    let denied = floors::Entry { outcome: Outcome::Nothing, ..tried };
    assert_eq!(violations(&[tried, read(10, One, 0, Some(1)), read(20, Quorum, 0, None)]), 0);
    assert_eq!(violations(&[tried, read(10, Quorum, 0, Some(1)), read(20, Quorum, 0, None)]), 1, "it is unseen");
    assert_eq!(violations(&[denied, read(10, Quorum, 0, Some(1))]), 1, "it was said to be without effect");
    assert_eq!(violations(&[read(10, Quorum, 0, Some(1))]), 1, "nobody wrote it");
}
