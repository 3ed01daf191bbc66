use fapo_domain::model::case::Split;
use fapo_domain::ports::datasets::Datasets;
use fapo_testkit::clock::ManualClock;
use fapo_testkit::sample;

use super::*;
use crate::{SqliteStore, StoreOptions};

/// Pairs of a train and a val case: every fifth like one another, the others only so far that some are looked at.
fn half_like() -> impl Iterator<Item = fapo_domain::ports::datasets::IncomingCase> {
    (0..100u64).flat_map(|pair| {
        let words: Vec<String> = (0..60).map(|n| format!("w{pair}x{n}")).collect();
        let mut other = words.clone();
        let changed: &[usize] = if pair % 5 == 0 { &[30] } else { &[10, 30, 50] };
        for place in changed {
            other[*place] = "other".to_owned();
        }
        [(Split::Train, 't', words), (Split::Val, 'v', other)].map(|(split, name, words)| {
            let case = sample::case(&format!("{name}{pair}"), &words.join(" "), "x");
            sample::incoming(split, pair + 1, case)
        })
    })
}

#[tokio::test]
async fn pairs_that_are_compared_are_bounded_whether_they_are_alike_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(
        &folder.path().join("store.db"),
        ManualClock::new(),
        StoreOptions::default(),
    )
    .await
    .unwrap();
    let import = store.begin_import("p").await.unwrap();
    store
        .import_cases(import, half_like().collect())
        .await
        .unwrap();
    let mut reader = store.reader().await;
    let id = args()
        .query("SELECT max(id) FROM datasets")
        .fetch_one(&mut *reader)
        .await
        .unwrap()
        .column(0)
        .unwrap();
    let mut found = Vec::new();
    for most in 0..30 {
        let pairs = across_splits_within(&mut reader, id, most).await.unwrap();
        assert!(pairs.len() <= most, "{} of {most}", pairs.len());
        found.push(pairs.len());
    }
    // the bound is what ends it: one more pair is one more compared, and not always one more found
    assert!(
        found.windows(2).all(|two| two[1] - two[0] <= 1),
        "{found:?}"
    );
    assert!(found[29] < 29 && found[29] > 0, "{found:?}");
    let all = across_splits_within(&mut reader, id, usize::MAX)
        .await
        .unwrap();
    assert!(all.len() > found[29]);
}
