//! Elements of lists that are found by their place or value, through [`Shard::step`].

use crate::Response;
use crate::test_cluster::{ALL, Cluster, ONE, QUORUM, TIMEOUT, node};
use model::RequestError;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const INSERT: &str = "INSERT INTO lists (k, c, l, s) VALUES ('p', 1, ['a', 'b', 'c', 'b'], ['x', 'y'])";

fn list(cluster: &mut Cluster, column: &str) -> String {
    let text = format!("SELECT JSON {column} FROM lists WHERE k = 'p'");
    cluster.rows(2, &text, ALL).join(" ")
}

#[test]
fn elements_are_set_and_deleted_by_their_place_and_value() {
    for consistency in [ONE, QUORUM, ALL] {
        let mut cluster = Cluster::new();
        cluster.written(1, INSERT, ALL);
        cluster.written(1, "UPDATE lists SET l[1] = 'B', s[0] = 'X' WHERE k = 'p' AND c = 1", consistency);
        assert_eq!(list(&mut cluster, "l, s"), r#"{"l": ["a", "B", "c", "b"], "s": ["X", "y"]}"#);
        // Their timestamps are of the clocks of the nodes that take them.
        cluster.advance(MILLISECOND);
        cluster.written(2, "DELETE l[0], s[1] FROM lists WHERE k = 'p' AND c = 1", consistency);
        assert_eq!(list(&mut cluster, "l, s"), r#"{"l": ["B", "c", "b"], "s": ["X"]}"#);
        cluster.advance(MILLISECOND);
        cluster.written(3, "UPDATE lists SET l = l - ['B', 'b', 'z'] WHERE k = 'p' AND c = 1", consistency);
        assert_eq!(list(&mut cluster, "l"), r#"{"l": ["c"]}"#);
        cluster.written(3, "UPDATE lists SET l = l - ['c'] WHERE k = 'p' AND c = 1", consistency);
        assert_eq!(list(&mut cluster, "l"), r#"{"l": null}"#);
        assert!(cluster.agree(&[1, 2, 3]));
        cluster.assert_idle();
    }
}

#[test]
fn what_is_not_there_is_refused_in_the_words_of_cassandra_and_changes_nothing() {
    let mut cluster = Cluster::new();
    cluster.written(1, INSERT, ALL);
    for (text, expected) in [
        ("UPDATE lists SET l[4] = 'x' WHERE k = 'p' AND c = 1", "List index 4 out of bound, list has size 4"),
        ("DELETE l[-1] FROM lists WHERE k = 'p' AND c = 1", "List index -1 out of bound, list has size 4"),
        ("UPDATE lists SET l[0] = 'x' WHERE k = 'p' AND c = 2", "Attempted to set an element on a list which is null"),
        ("DELETE l[0] FROM lists WHERE k = 'q' AND c = 1", "Attempted to delete an element from a list which is null"),
    ] {
        let request = cluster.write(2, text, QUORUM);
        cluster.run();
        assert_eq!(cluster.reply(request), Some(Err(RequestError::Invalid(expected.to_owned()))), "{text}");
    }
    assert_eq!(list(&mut cluster, "l"), r#"{"l": ["a", "b", "c", "b"]}"#);
    cluster.assert_idle();
}

#[test]
fn those_of_one_partition_follow_each_other() {
    let mut cluster = Cluster::new();
    cluster.written(1, INSERT, ALL);
    // Each deletes what is first once those before it are done.
    let delete = "DELETE l[0] FROM lists WHERE k = 'p' AND c = 1";
    let requests: Vec<u64> = (0..5).map(|_| cluster.write(1, delete, QUORUM)).collect();
    assert_eq!(cluster.status(1).requests_in_flight, 5);
    cluster.run();
    let replies: Vec<_> = requests.into_iter().map(|request| cluster.reply(request).unwrap()).collect();
    assert_eq!(replies[..4], [(); 4].map(|()| Ok(Response::Written)));
    let expected = "Attempted to delete an element from a list which is null".to_owned();
    assert_eq!(replies[4], Err(RequestError::Invalid(expected)), "four elements were there");
    cluster.assert_idle();
}

#[test]
fn one_that_waits_too_long_is_told_so_and_lets_the_others_go_on() {
    let mut cluster = Cluster::new();
    cluster.written(1, INSERT, ALL);
    for id in 1..=3 {
        cluster.nodes.get_mut(&node(id)).unwrap().slow_storage = true;
    }
    let delete = "DELETE l[0] FROM lists WHERE k = 'p' AND c = 1";
    let requests: Vec<u64> = (0..3).map(|_| cluster.write(1, delete, QUORUM)).collect();
    cluster.advance(TIMEOUT);
    for request in requests {
        let reply = cluster.reply(request);
        let timed_out = matches!(
            reply,
            Some(Err(RequestError::ReadTimeout { .. } | RequestError::WriteTimeout { received: 0, .. }))
        );
        assert!(timed_out, "{reply:?}");
    }
    (1..=3).for_each(|id| cluster.release(id));
    cluster.written(1, delete, QUORUM);
    cluster.assert_idle();
}

#[test]
fn a_write_that_was_not_read_for_makes_no_mutation() {
    let cluster = Cluster::new();
    let query::Bound::Write(write) = cluster.bind("DELETE l[0] FROM lists WHERE k = 'p' AND c = 1") else {
        panic!("a write")
    };
    assert!(write.reads_first());
    assert!(matches!(write.mutation(1, model::WallMicros(1)), Err(RequestError::Server(_))));
}
