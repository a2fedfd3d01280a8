//! Nodes on disks that fail: what clients and operators see, what is lost (nothing that was acknowledged), and how it
//! ends.

use e2e::sick_disk::{EIO, ENOSPC, EROFS, SickDisk, Sickness};
use e2e::{Cluster, PATIENCE, output};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const SCHEMA: &str = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}; \
                      CREATE TABLE k.t (id int PRIMARY KEY, v text);";

/// A single node whose disk can be made sick.
struct Patient {
    cluster: Cluster,
    disk: SickDisk,
    _state: tempfile::TempDir,
}

impl Patient {
    /// Started, with a table.
    fn start(settings: &str) -> Patient {
        let mut cluster = Cluster::configured(1, settings);
        let (state, data) = (tempfile::tempdir().unwrap(), cluster.node(0).data.clone());
        std::fs::create_dir_all(&data).unwrap();
        let disk = SickDisk::new(state.path(), &data).unwrap();
        let mut patient = Patient { cluster, disk, _state: state };
        patient.restart();
        assert!(patient.cql(SCHEMA).is_ok());
        patient
    }

    fn restart(&mut self) {
        let mut command = self.cluster.node(0).command();
        self.disk.arm(&mut command);
        self.cluster.node(0).start_as(command);
        self.cluster.wait_up(1);
    }

    /// What the shell says when the statements fail.
    fn cql(&mut self, text: &str) -> Result<(), String> {
        let output = self.cluster.node(0).cql(text);
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    fn insert(&mut self, ids: std::ops::Range<u32>) -> Result<(), String> {
        let inserts: String = ids.map(|id| format!("INSERT INTO k.t (id, v) VALUES ({id}, 'v{id}');")).collect();
        self.cql(&inserts)
    }

    fn assert_stored(&mut self, ids: std::ops::Range<u32>) {
        for id in ids {
            let rows = self.cluster.node(0).rows(&format!("SELECT v FROM k.t WHERE id = {id}"));
            assert_eq!(rows[0]["v"], format!("v{id}"));
        }
    }

    /// Of `admin info` and of `admin status`: why writes are refused.
    fn refuses_writes(&mut self) -> (String, String) {
        let address = self.cluster.node(0).address.clone();
        let info = output(&["admin", "info", "--host", &address, "--json"]);
        let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
        let status = self.cluster.node(0).status().unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        (text(&info["refuses_writes"]), text(&status["nodes"][0]["refuses_writes"]))
    }

    fn wait_until_accepted(&mut self) {
        let started = Instant::now();
        while !self.refuses_writes().0.is_empty() {
            assert!(started.elapsed() < PATIENCE, "writes are accepted again");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_failed_sync_stops_the_process_and_nothing_acknowledged_is_lost() {
    let mut patient = Patient::start("");
    patient.insert(0..30).unwrap();
    patient.disk.set(Sickness { sync: EIO, ..Sickness::default() }).unwrap();
    assert!(patient.insert(30..31).is_err(), "not acknowledged");
    let status = patient.cluster.node(0).wait_end();
    assert_eq!(status.code(), Some(1), "{status}");
    let log = patient.cluster.node(0).log_text();
    assert!(log.contains("failed to sync"), "{log}");
    patient.disk.set(Sickness::default()).unwrap();
    patient.restart();
    patient.assert_stored(0..30);
    patient.insert(40..41).unwrap();
}

#[test]
fn a_disk_that_refuses_writes_leaves_reads_and_is_named() {
    for number in [EROFS, EIO] {
        let mut patient = Patient::start("");
        patient.insert(0..30).unwrap();
        assert_eq!(patient.refuses_writes(), (String::new(), String::new()));
        patient.disk.set(Sickness { write: number, ..Sickness::default() }).unwrap();
        let refused = patient.insert(30..31).unwrap_err();
        assert!(refused.contains("1 failures"), "{refused}");
        patient.assert_stored(0..30);
        let (info, status) = patient.refuses_writes();
        let reason = if number == EROFS { "Read-only file system" } else { "Input/output error" };
        assert!(info.contains(reason) && status.contains(reason), "{info} / {status}");
        // Nobody knows what the log holds behind what was synced: it stays so until the next start.
        patient.disk.set(Sickness::default()).unwrap();
        assert!(patient.insert(31..32).is_err());
        assert!(patient.cluster.node(0).terminate().success());
        patient.restart();
        patient.assert_stored(0..30);
        patient.insert(30..40).unwrap();
        patient.assert_stored(30..40);
    }
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space_without_a_restart() {
    for settings in ["", "durability = 'periodic'\nperiodic_sync_ms = 60000"] {
        let mut patient = Patient::start(settings);
        patient.insert(0..30).unwrap();
        patient.disk.set(Sickness { write: ENOSPC, ..Sickness::default() }).unwrap();
        let refused = patient.insert(30..31).unwrap_err();
        assert!(refused.contains("1 failures") && refused.contains("their disks are full"), "{refused}");
        let (info, status) = patient.refuses_writes();
        assert!(info.contains("the disk is full") && status == info, "{info} / {status}");
        patient.assert_stored(0..30);
        // What membership has to record waits for space: the change is late, and the node lives.
        let _ = patient.cql("CREATE TABLE k.u (id int PRIMARY KEY)");
        patient.disk.set(Sickness::default()).unwrap();
        patient.wait_until_accepted();
        patient.insert(30..60).unwrap();
        let created = "CREATE TABLE IF NOT EXISTS k.u (id int PRIMARY KEY); INSERT INTO k.u (id) VALUES (1)";
        assert_eq!(patient.cql(created), Ok(()));
        patient.cluster.node(0).kill();
        patient.restart();
        patient.assert_stored(0..60);
    }
}

#[test]
fn reads_that_the_disk_fails_are_refused_and_counted_and_come_back() {
    let mut patient = Patient::start("");
    patient.insert(0..30).unwrap();
    // The next start moves the log into a table file, of which nothing is in memory.
    assert!(patient.cluster.node(0).terminate().success());
    patient.restart();
    patient.disk.set(Sickness { read: EIO, ..Sickness::default() }).unwrap();
    let refused = patient.cql("SELECT v FROM k.t WHERE id = 7").unwrap_err();
    assert!(refused.contains("Operation failed") && refused.contains("a read at QUORUM"), "{refused}");
    let address = patient.cluster.node(0).address.clone();
    let info = output(&["admin", "info", "--host", &address, "--json"]);
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert!(info["reads_failed"].as_u64().unwrap() > 0, "{info}");
    let log = patient.cluster.node(0).log_text();
    assert!(log.contains("a read failed") && log.contains(".sst"), "{log}");
    patient.disk.set(Sickness::default()).unwrap();
    patient.assert_stored(0..30);
}

#[test]
fn writes_that_take_half_are_no_matter() {
    let mut patient = Patient::start("");
    patient.disk.set(Sickness { shorten: true, ..Sickness::default() }).unwrap();
    patient.insert(0..60).unwrap();
    patient.cluster.node(0).kill();
    patient.restart();
    patient.assert_stored(0..60);
}

#[test]
fn a_write_waits_for_a_slow_sync() {
    let mut patient = Patient::start("");
    let slow = Duration::from_millis(300);
    patient.disk.set(Sickness { slow, ..Sickness::default() }).unwrap();
    let began = Instant::now();
    patient.insert(0..1).unwrap();
    assert!(began.elapsed() >= slow, "it is acknowledged before it can be durable");
}

/// Unmounts when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the test's file system is unmounted");
    }
}

/// Mounts a file system in memory; `None`, with a message, where that is not possible.
fn mount(folder: &std::path::Path, megabytes: u32) -> Option<Mounted> {
    std::fs::create_dir_all(folder).unwrap();
    let size = format!("size={megabytes}m");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
    match mounted {
        Ok(output) if output.status.success() => Some(Mounted(folder.to_owned())),
        Ok(output) => {
            eprintln!("skipped: no file system can be mounted: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            eprintln!("skipped: no file system can be mounted: {error}");
            None
        }
    }
}

#[test]
fn a_real_disk_that_others_fill_is_refused_in_time_and_used_again() {
    let mut cluster = Cluster::configured(1, "");
    let folder = cluster.folder().join("disk");
    let Some(_mounted) = mount(&folder, 600) else { return };
    let data = folder.join("data");
    cluster.node(0).data = data;
    cluster.node(0).start();
    cluster.wait_up(1);
    assert!(cluster.node(0).cql(SCHEMA).status.success());
    let filler = folder.join("filler");
    for round in 0..2 {
        let id = |id: u32| round * 100 + id;
        let insert = |id: u32| format!("INSERT INTO k.t (id, v) VALUES ({id}, 'v{id}')");
        assert!(cluster.node(0).cql(&insert(id(0))).status.success());
        // Less than the reserve is left, but not nothing.
        std::fs::write(&filler, vec![7; 450 << 20]).unwrap();
        cluster.node(0).wait("writes are refused", |node| Some(!node.cql(&insert(id(1))).status.success()));
        let status = cluster.node(0).status().unwrap();
        let reason = status["nodes"][0]["refuses_writes"].as_str().unwrap().to_owned();
        assert!(reason.contains("the disk is full") && reason.contains("free"), "{reason}");
        assert_eq!(
            cluster.node(0).rows(&format!("SELECT v FROM k.t WHERE id = {}", id(0)))[0]["v"],
            format!("v{}", id(0))
        );
        std::fs::remove_file(&filler).unwrap();
        cluster.node(0).wait("writes are accepted", |node| Some(node.cql(&insert(id(2))).status.success()));
    }
    assert!(cluster.node(0).terminate().success());
}

#[test]
fn a_read_only_disk_is_refused_at_the_start_by_name() {
    let mut cluster = Cluster::configured(1, "");
    let folder = cluster.folder().join("disk");
    let Some(mounted) = mount(&folder, 600) else { return };
    cluster.node(0).data = folder.join("data");
    cluster.node(0).start();
    cluster.wait_up(1);
    assert!(cluster.node(0).terminate().success());
    let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(&mounted.0).status().unwrap();
    assert!(remount.success());
    cluster.node(0).start();
    assert_eq!(cluster.node(0).wait_end().code(), Some(3));
    let log = cluster.node(0).log_text();
    assert!(log.contains("Read-only file system"), "{log}");
}
