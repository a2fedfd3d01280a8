//! Pages of one result, and what changes between them: each page is read when it is asked for, and goes on behind the
//! last row of the one before, whatever has become of that.

use crate::test_cluster::{Cluster, QUORUM, TIMEOUT};
use bytes::Bytes;
use std::time::Duration;

const SELECT: &str = "SELECT c, v FROM t WHERE k = 'p'";

fn insert(c: u32, v: &str) -> String {
    format!("INSERT INTO t (k, c, v) VALUES ('p', {c}, '{v}')")
}

/// A page of at most so many rows, and where it ended.
fn page(cluster: &mut Cluster, text: &str, rows: u32, state: Option<Bytes>) -> (Vec<String>, Option<Bytes>) {
    let request = cluster.read_page(1, text, QUORUM, rows, state);
    cluster.run();
    let (rows, next) = cluster.rows_of(request);
    (rows.into_iter().map(|row| row.join(" ")).collect(), next)
}

fn filled(rows: u32) -> Cluster {
    let mut cluster = Cluster::new();
    (1..=rows).for_each(|c| cluster.written(1, &insert(c, "old"), QUORUM));
    // Other coordinators give later timestamps from now on.
    cluster.advance(Duration::from_secs(1));
    cluster
}

#[test]
fn what_changes_before_a_page_is_not_read_again_and_what_changes_behind_it_is() {
    // test_data_change_impacting_earlier_page, test_data_change_impacting_later_page
    let mut cluster = filled(6);
    let (rows, state) = page(&mut cluster, SELECT, 3, None);
    assert_eq!(rows, ["1 old", "2 old", "3 old"]);
    cluster.written(2, &insert(2, "new"), QUORUM);
    cluster.written(2, "DELETE FROM t WHERE k = 'p' AND c = 3", QUORUM);
    cluster.written(2, &insert(0, "new"), QUORUM);
    cluster.written(2, &insert(5, "new"), QUORUM);
    cluster.written(2, "DELETE FROM t WHERE k = 'p' AND c = 4", QUORUM);
    cluster.written(2, &insert(7, "new"), QUORUM);
    let (rows, state) = page(&mut cluster, SELECT, 10, state);
    assert_eq!((rows, state), (vec!["5 new".to_owned(), "6 old".to_owned(), "7 new".to_owned()], None));
}

#[test]
fn a_partition_that_is_deleted_between_pages_ends_them() {
    // test_single_partition_deletions
    let mut cluster = filled(6);
    let (_, state) = page(&mut cluster, SELECT, 3, None);
    cluster.written(3, "DELETE FROM t WHERE k = 'p'", QUORUM);
    assert_eq!(page(&mut cluster, SELECT, 3, state), (Vec::new(), None));
}

#[test]
fn rows_and_values_that_expire_between_pages_are_gone_from_the_later_ones() {
    // test_row_TTL_expiry_during_paging, test_cell_TTL_expiry_during_paging
    let mut cluster = filled(2);
    for c in 3..=6 {
        let ends = if c % 2 == 0 { " USING TTL 10" } else { "" };
        cluster.written(1, &format!("{}{ends}", insert(c, "kept")), QUORUM);
    }
    cluster.written(1, "UPDATE t USING TTL 10 SET w = 'brief' WHERE k = 'p' AND c = 5", QUORUM);
    let text = "SELECT c, v, w FROM t WHERE k = 'p'";
    let (rows, state) = page(&mut cluster, text, 4, None);
    assert_eq!(rows, ["1 old null", "2 old null", "3 kept null", "4 kept null"]);
    cluster.advance(Duration::from_secs(11));
    let (rows, state) = page(&mut cluster, text, 4, state);
    assert_eq!((rows, state), (vec!["5 kept null".to_owned()], None));
}

#[test]
fn two_results_are_paged_side_by_side() {
    // test_query_isolation
    let mut cluster = filled(6);
    let reversed = "SELECT c, v FROM t WHERE k = 'p' ORDER BY c DESC";
    let (mut states, mut found) = ([None, None], [Vec::new(), Vec::new()]);
    for _ in 0..3 {
        for (index, text) in [SELECT, reversed].into_iter().enumerate() {
            let (rows, next) = page(&mut cluster, text, 2, states[index].take());
            found[index].extend(rows);
            states[index] = next;
        }
    }
    found[1].reverse();
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0].len(), 6);
}

#[test]
fn pages_go_on_when_a_replica_dies_and_fail_when_too_few_are_left() {
    // test_node_unavailabe_during_paging
    let mut cluster = filled(6);
    let (_, state) = page(&mut cluster, SELECT, 2, None);
    cluster.kill(2);
    let (rows, state) = page(&mut cluster, SELECT, 2, state);
    assert_eq!(rows, ["3 old", "4 old"]);
    cluster.kill(3);
    let request = cluster.read_page(1, SELECT, QUORUM, 2, state.clone());
    cluster.advance(TIMEOUT);
    assert!(matches!(cluster.reply(request), Some(Err(model::RequestError::Unavailable { .. }))));
    cluster.restart(2);
    let (rows, state) = page(&mut cluster, SELECT, 3, state);
    assert_eq!((rows, state), (vec!["5 old".to_owned(), "6 old".to_owned()], None));
}
