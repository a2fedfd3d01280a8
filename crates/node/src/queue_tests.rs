//! The rule about queues, in simulated time: one worker, an open loop of requests, and what comes of them.

use super::*;
use model::Rng;
use std::collections::VecDeque;

const LIMIT: QueueLimit = QueueLimit { wait_max: Duration::from_millis(200), always: 32 };
const TIMEOUT: Duration = Duration::from_secs(5);
/// A worker looks up for what else there is to do after so many microseconds, as the loop of a shard does.
const TURN_MICROS: u64 = 500;

/// What became of requests.
#[derive(Debug, Default)]
struct Run {
    done: u64,
    /// Done after their time was over.
    late: u64,
    refused: u64,
    /// The longest wait of one that was taken, in microseconds.
    longest: u64,
    /// When the last one was refused.
    last_refused_at: u64,
}

/// A queue and whoever works on it.
struct Worker {
    time: u64,
    waiting: VecDeque<u64>,
    service: ServiceTime,
    rule: fn(u64, ServiceTime) -> bool,
    run: Run,
}

fn by_rule(waiting: u64, service: ServiceTime) -> bool {
    LIMIT.has_room(waiting, service, TIMEOUT)
}

/// A bound on the length alone.
fn by_length(waiting: u64, _: ServiceTime) -> bool {
    waiting < 65_536
}

impl Worker {
    fn new(rule: fn(u64, ServiceTime) -> bool) -> Worker {
        Worker { time: 0, waiting: VecDeque::new(), service: ServiceTime::default(), rule, run: Run::default() }
    }

    /// For so many microseconds one comes every `every` of them, and each takes as long as `cost` says.
    fn load(&mut self, micros: u64, every: f64, mut cost: impl FnMut() -> u64) {
        let (begun, ends) = (self.time, self.time + micros);
        let (mut come, mut mark, mut taken) = (0_u64, self.time, 0);
        while self.time < ends {
            // Whoever works is busy: what came meanwhile is met all at once.
            while begun as f64 + come as f64 * every <= self.time as f64 {
                let at = (begun as f64 + come as f64 * every) as u64;
                come += 1;
                match (self.rule)(self.waiting.len() as u64, self.service) {
                    true => self.waiting.push_back(at),
                    false => {
                        self.run.refused += 1;
                        self.run.last_refused_at = self.time;
                    }
                }
            }
            let turn = self.time;
            while self.time < turn + TURN_MICROS
                && let Some(at) = self.waiting.pop_front()
            {
                let waited = self.time - at;
                self.run.longest = self.run.longest.max(waited);
                self.time += cost();
                taken += 1;
                match waited < TIMEOUT.as_micros() as u64 {
                    true => self.run.done += 1,
                    false => self.run.late += 1,
                }
            }
            if taken > 0 {
                self.service.note(Duration::from_micros(self.time - mark), taken);
            }
            if self.waiting.is_empty() {
                self.time = self.time.max((begun as f64 + come as f64 * every).ceil() as u64);
            }
            (mark, taken) = (self.time, 0);
        }
    }
}

const SECOND: u64 = 1_000_000;

#[test]
fn at_ten_times_what_can_be_done_all_that_can_be_done_is_done_and_nobody_waits_for_long() {
    for times in [1.5, 3.0, 10.0] {
        let mut worker = Worker::new(by_rule);
        worker.load(20 * SECOND, 400.0 / times, || 400);
        let Run { done, late, refused, longest, .. } = worker.run;
        // One in 400 microseconds: 2,500 in a second, for 20 seconds.
        assert!(done >= 49_900, "{times}: {done} done");
        assert_eq!(late, 0);
        assert!(refused > 0 && longest < 500_000, "{times}: {refused} refused, the longest wait was {longest}");
    }
}

#[test]
fn a_queue_that_is_bounded_by_its_length_works_for_nobody() {
    let mut worker = Worker::new(by_length);
    worker.load(60 * SECOND, 40.0, || 400);
    // Only the first ones, until what waits has waited for too long.
    assert!(worker.run.done < 20_000 && worker.run.late > 100_000, "{:?}", worker.run);
}

#[test]
fn after_the_load_nobody_is_refused_any_more() {
    let mut worker = Worker::new(by_rule);
    worker.load(10 * SECOND, 40.0, || 400);
    assert!(worker.run.last_refused_at > 9 * SECOND);
    let ended = worker.time;
    worker.load(10 * SECOND, 800.0, || 400);
    assert!(worker.run.last_refused_at < ended + 500_000, "{:?} after {ended}", worker.run);
}

#[test]
fn a_pause_of_the_worker_is_no_overload() {
    let mut worker = Worker::new(by_rule);
    worker.load(SECOND, 20.0, || 10);
    for _ in 0..20 {
        // A slow disk, another process: half of what can be done comes all the while, and is met at once.
        let waited: Vec<u64> = (0..10_000).map(|n| worker.time + n * 20).collect();
        worker.time += 200_000;
        for at in waited {
            assert!(by_rule(worker.waiting.len() as u64, worker.service), "{} wait", worker.waiting.len());
            worker.waiting.push_back(at);
        }
        worker.load(SECOND, 20.0, || 10);
    }
    assert_eq!(worker.run.refused, 0);
}

#[test]
fn a_few_dear_ones_are_no_overload() {
    let mut worker = Worker::new(by_rule);
    // 32 at once, each of 300 milliseconds, with time to do them in between.
    for _ in 0..5 {
        (0..LIMIT.always).for_each(|_| {
            assert!(by_rule(worker.waiting.len() as u64, worker.service));
            worker.waiting.push_back(worker.time);
        });
        while worker.waiting.pop_front().is_some() {
            worker.time += 300_000;
            worker.service.note(Duration::from_millis(300), 1);
        }
    }
    assert!(!by_rule(LIMIT.always, worker.service), "but no more than these");
}

#[test]
fn what_was_dear_is_soon_forgotten_and_what_is_mixed_counts_as_its_mean() {
    let mut worker = Worker::new(by_rule);
    worker.load(5 * SECOND, 20_000.0, || 10_000);
    // A hundred cheap ones together: no time passes until they are dear no more.
    worker.load(SECOND / 2, 200.0, || 10);
    assert_eq!(worker.run.refused, 0, "{:?}", worker.service);
    assert!(worker.service.nanos() < 200_000, "{:?}", worker.service);

    let (mut worker, mut rng) = (Worker::new(by_rule), Rng::new(7));
    worker.load(30 * SECOND, 30.0, || if rng.chance(10) { 30_000 } else { 10 });
    let Run { done, late, longest, .. } = worker.run;
    // The mean is about 310 microseconds.
    assert!(done > 80_000 && late == 0 && longest < 600_000, "{:?}", worker.run);
}

#[test]
fn what_cannot_be_done_in_its_own_time_is_refused() {
    let service = ServiceTime::from_nanos(1_000_000);
    assert!(LIMIT.has_room(200, service, TIMEOUT));
    assert!(!LIMIT.has_room(201, service, TIMEOUT));
    assert!(LIMIT.has_room(50, service, Duration::from_millis(50)));
    assert!(!LIMIT.has_room(51, service, Duration::from_millis(50)));
    assert!(!LIMIT.has_room(u64::MAX, ServiceTime::from_nanos(u64::MAX), TIMEOUT));
    let mut service = ServiceTime::from_nanos(u64::MAX);
    service.note(Duration::MAX, u64::MAX);
    assert_eq!(service.nanos(), 1);
}
