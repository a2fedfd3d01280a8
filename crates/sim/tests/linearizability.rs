//! The checker on histories that are known to be good and to be bad, and against one that tries all orders.

use model::Rng;
use sim::oracle::linearizability::RegisterOperation::{CompareAndSet, Increment, Read};
use sim::oracle::linearizability::{Entry, Model, Register, RegisterOperation, Verdict, check};

type History = Vec<Entry<RegisterOperation>>;

fn entry(called: u64, returned: impl Into<Option<u64>>, operation: RegisterOperation) -> Entry<RegisterOperation> {
    Entry { called, returned: returned.into(), operation }
}

fn cas(from: impl Into<Option<u64>>, to: u64, applied: impl Into<Option<bool>>) -> RegisterOperation {
    CompareAndSet { from: from.into(), to: Some(to), applied: applied.into(), shown: None }
}

fn verdict(history: &History) -> Verdict {
    check(&Register, None, history, 1_000_000)
}

fn good(history: History) {
    assert_eq!(verdict(&history), Verdict::Linearizable, "{history:?}");
}

fn bad(history: History) {
    assert!(matches!(verdict(&history), Verdict::Violated(_)), "{history:?}");
}

#[test]
fn operations_one_after_the_other() {
    good(vec![]);
    good(vec![entry(0, 1, cas(None, 1, true)), entry(2, 3, Read(Some(1))), entry(4, 5, cas(2, 3, false))]);
    bad(vec![entry(0, 1, cas(None, 1, true)), entry(2, 3, Read(None))]);
    bad(vec![entry(0, 1, cas(None, 1, true)), entry(2, 3, cas(1, 2, false))]);
    bad(vec![entry(0, 1, cas(None, 1, true)), entry(2, 3, cas(None, 2, true))]);
    good(vec![
        entry(0, 1, cas(None, 1, true)),
        entry(2, 3, Increment { applied: Some(true) }),
        entry(4, 5, Read(Some(2))),
    ]);
}

#[test]
fn concurrent_operations_are_in_either_order() {
    good(vec![entry(0, 10, cas(None, 1, true)), entry(0, 10, Read(None))]);
    good(vec![entry(0, 10, cas(None, 1, true)), entry(0, 10, Read(Some(1)))]);
    // Two reads one after the other see it come, and not go.
    good(vec![entry(0, 10, cas(None, 1, true)), entry(1, 2, Read(None)), entry(3, 4, Read(Some(1)))]);
    bad(vec![entry(0, 10, cas(None, 1, true)), entry(1, 2, Read(Some(1))), entry(3, 4, Read(None))]);
    // Of two that want the same one is first.
    good(vec![entry(0, 10, cas(None, 1, true)), entry(0, 10, cas(None, 2, false))]);
    bad(vec![entry(0, 10, cas(None, 1, true)), entry(0, 10, cas(None, 2, true))]);
    // What happens at one time is concurrent.
    good(vec![entry(0, 5, cas(None, 1, true)), entry(5, 9, Read(None))]);
}

#[test]
fn what_is_not_known_happens_at_any_later_time_or_never() {
    let unknown = || entry(0, None, cas(None, 1, None));
    good(vec![unknown(), entry(2, 3, Read(None)), entry(4, 5, Read(None))]);
    good(vec![unknown(), entry(2, 3, Read(None)), entry(4, 5, Read(Some(1)))]);
    bad(vec![unknown(), entry(2, 3, Read(Some(1))), entry(4, 5, Read(None))]);
    bad(vec![entry(6, None, cas(None, 1, None)), entry(2, 3, Read(Some(1)))]);
    // It does not happen twice.
    bad(vec![
        entry(0, None, Increment { applied: None }),
        entry(1, 2, cas(None, 5, true)),
        entry(3, 4, Read(Some(6))),
        entry(5, 6, Read(Some(7))),
    ]);
}

#[test]
fn a_refusal_shows_what_was_there() {
    let refused = |shown| CompareAndSet { from: None, to: Some(9), applied: Some(false), shown: Some(shown) };
    good(vec![entry(0, 1, cas(None, 1, true)), entry(2, 3, refused(1))]);
    bad(vec![entry(0, 1, cas(None, 1, true)), entry(2, 3, refused(2))]);
}

#[test]
fn a_search_that_is_too_long_is_no_pass() {
    let history: History = (0..30).map(|n| entry(0, 100, cas(n, n + 1, false))).collect();
    assert_eq!(check(&Register, None, &history, 10), Verdict::Undecided);
    assert_eq!(verdict(&history), Verdict::Linearizable);
}

#[test]
fn long_histories_are_decided() {
    // A hundred clients, each overlapping the next, on one register.
    let mut history: History = vec![entry(0, 1, cas(None, 0, true))];
    for n in 0..5_000 {
        history.push(entry(2 + n * 2, 6 + n * 2, Increment { applied: Some(true) }));
    }
    history.push(entry(20_000, 20_001, Read(Some(5_000))));
    assert_eq!(verdict(&history), Verdict::Linearizable);
    history.push(entry(20_002, 20_003, Read(Some(4_999))));
    assert!(matches!(verdict(&history), Verdict::Violated(_)));
}

/// Tries all orders.
fn by_all_orders(history: &History, state: Option<u64>, done: &mut Vec<bool>) -> bool {
    let open = (0..history.len()).filter(|index| !done[*index]);
    let first_return = open.clone().filter_map(|index| history[index].returned).min();
    if open.clone().all(|index| history[index].returned.is_none()) {
        return true;
    }
    for index in open.collect::<Vec<_>>() {
        if first_return.is_some_and(|first| first < history[index].called) {
            continue;
        }
        if let Some(next) = Register.step(&state, &history[index].operation) {
            done[index] = true;
            if by_all_orders(history, next, done) {
                return true;
            }
            done[index] = false;
        }
    }
    false
}

#[test]
fn the_verdict_is_that_of_trying_all_orders() {
    let mut rng = Rng::new(7);
    let mut verdicts = [0, 0];
    for _ in 0..20_000 {
        let history: History = (0..rng.between(1, 7))
            .map(|_| {
                let called = rng.below(12);
                let returned = (!rng.chance(150)).then(|| called + rng.below(6));
                let value = |rng: &mut Rng| (!rng.chance(300)).then(|| rng.below(3));
                let known = |rng: &mut Rng| returned.map(|_| rng.chance(600));
                let operation = match rng.below(4) {
                    0 => Increment { applied: known(&mut rng) },
                    1 if returned.is_some() => Read(value(&mut rng)),
                    _ => {
                        let (from, to, applied) = (value(&mut rng), value(&mut rng), known(&mut rng));
                        let shown = if applied == Some(false) { value(&mut rng) } else { None };
                        CompareAndSet { from, to, applied, shown }
                    }
                };
                Entry { called, returned, operation }
            })
            .collect();
        let expected = by_all_orders(&history, None, &mut vec![false; history.len()]);
        assert_eq!(verdict(&history) == Verdict::Linearizable, expected, "{history:?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 2_000), "both are tried: {verdicts:?}");
}
