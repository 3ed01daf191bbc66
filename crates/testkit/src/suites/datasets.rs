//! What every [`fapo_domain::ports::datasets::Datasets`] must do.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use fapo_domain::model::case::{Case, Split};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::datasets::{Dataset, ImportId, IncomingCase};
use fapo_domain::{CaseId, DatasetId};

use super::Ports;
use crate::sample::{self, incoming};

fn train(count: u64) -> Vec<IncomingCase> {
    (0..count)
        .map(|n| {
            let case = sample::case(&format!("t{n}"), &format!("What is {n} + {n}?"), "it");
            incoming(Split::Train, n + 1, case)
        })
        .collect()
}

async fn import(ports: &Ports, cases: Vec<IncomingCase>) -> Result<Dataset> {
    let import = ports.datasets.begin_import("p").await?;
    ensure!(ports.datasets.import_cases(import, cases).await?.is_empty());
    Ok(ports.datasets.commit_import(import).await?)
}

async fn ids(ports: &Ports, dataset: DatasetId, split: Split) -> Result<Vec<String>> {
    let page = ports.datasets.page(dataset, split, 0, 100_000).await?;
    Ok(page.iter().map(|case| case.case_id.to_string()).collect())
}

/// Splits may come mixed; ordinals count within each.
pub async fn cases_come_back_in_the_order_of_the_import(ports: &Ports) -> Result<()> {
    let case = |id: &str| Case {
        metadata: sample::object("source", "made up"),
        ..sample::case(id, "ä?", "ö!")
    };
    let import = ports.datasets.begin_import("p").await?;
    let first = vec![
        incoming(Split::Train, 1, case("z")),
        incoming(Split::Test, 1, case("s")),
        incoming(Split::Train, 2, case("a")),
    ];
    ports.datasets.import_cases(import, first).await?;
    let second = vec![incoming(Split::Train, 3, case("m"))];
    ports.datasets.import_cases(import, second).await?;
    let dataset = ports.datasets.commit_import(import).await?;
    ensure!(dataset.cases.into_iter().collect::<Vec<_>>() == [(Split::Train, 3), (Split::Test, 1)]);

    let page = |from, limit| ports.datasets.page(dataset.id, Split::Train, from, limit);
    ensure!(page(0, 2).await? == [case("z"), case("a")]);
    ensure!(page(2, 2).await? == [case("m")]);
    ensure!(page(3, 2).await?.is_empty());
    let some = ports
        .datasets
        .cases(dataset.id, Split::Train, &[2, 0, 2])
        .await?;
    ensure!(some == [case("m"), case("z"), case("m")]);
    let found = ports
        .datasets
        .find_case(dataset.id, &CaseId::new("s"))
        .await?;
    ensure!(found == Some((Split::Test, 0)));
    Ok(())
}

/// Only commits count.
pub async fn an_import_is_invisible_until_committed(ports: &Ports) -> Result<()> {
    let committed = import(ports, train(3)).await?;
    let open = ports.datasets.begin_import("p").await?;
    ports.datasets.import_cases(open, train(5)).await?;
    ensure!(ids(ports, committed.id, Split::Train).await?.len() == 3);
    let dataset = ports.datasets.commit_import(open).await?;
    ensure!(ids(ports, dataset.id, Split::Train).await?.len() == 5);
    Ok(())
}

/// Not on projects, batches, files, or the order of an object's keys.
pub async fn the_id_depends_on_content_and_order_only(ports: &Ports) -> Result<()> {
    let first = import(ports, train(5)).await?;
    let other = ports.datasets.begin_import("other").await?;
    for mut case in train(5) {
        case.file = "elsewhere.csv".to_owned();
        ports.datasets.import_cases(other, vec![case]).await?;
    }
    ensure!(ports.datasets.commit_import(other).await?.id == first.id);

    let mut reordered = train(5);
    reordered.swap(0, 1);
    ensure!(import(ports, reordered).await?.id != first.id);
    let mut moved = train(5);
    moved[4].split = Split::Val;
    ensure!(import(ports, moved).await?.id != first.id);
    let mut changed = train(5);
    changed[2].case.expected = sample::object("answer", "that");
    ensure!(import(ports, changed).await?.id != first.id);

    let keys = |keys: [&str; 2]| {
        let mut case = sample::case("k", "?", "!");
        for key in keys {
            case.input.insert(key.to_owned(), 1.into());
        }
        vec![incoming(Split::Train, 1, case)]
    };
    let one = import(ports, keys(["a", "b"])).await?;
    ensure!(import(ports, keys(["b", "a"])).await?.id == one.id);
    Ok(())
}

/// The same data again is the same version.
pub async fn an_equal_version_is_returned(ports: &Ports) -> Result<()> {
    let first = import(ports, train(3)).await?;
    let again = import(ports, train(3)).await?;
    ensure!(first == again);
    ensure!(ports.datasets.get_dataset(first.id).await? == first);
    ensure!(ids(ports, first.id, Split::Train).await? == ["t0", "t1", "t2"]);
    Ok(())
}

/// Within a call, across calls, across splits.
pub async fn duplicates_are_told_with_both_places_and_refuse_the_commit(
    ports: &Ports,
) -> Result<()> {
    let import = ports.datasets.begin_import("p").await?;
    let twice = |split, line| incoming(split, line, sample::case("t1", "again?", "no"));
    let mut cases = train(3);
    cases.push(twice(Split::Train, 4));
    let told = ports.datasets.import_cases(import, cases).await?;
    ensure!(told.len() == 1 && told[0].case_id.as_str() == "t1");
    ensure!(told[0].first == ("train.jsonl".to_owned(), 2));
    ensure!(told[0].second == ("train.jsonl".to_owned(), 4));
    let told = ports
        .datasets
        .import_cases(import, vec![twice(Split::Val, 9)])
        .await?;
    ensure!(told[0].first == ("train.jsonl".to_owned(), 2));
    ensure!(told[0].second == ("val.jsonl".to_owned(), 9));
    let refused = ports.datasets.commit_import(import).await;
    ensure!(matches!(refused, Err(StoreError::Invalid { .. })));
    Ok(())
}

/// A file given twice must not fill the screen.
pub async fn at_most_a_hundred_duplicates_are_told(ports: &Ports) -> Result<()> {
    let import = ports.datasets.begin_import("p").await?;
    ports.datasets.import_cases(import, train(150)).await?;
    let first = ports.datasets.import_cases(import, train(60)).await?;
    let second = ports.datasets.import_cases(import, train(150)).await?;
    ensure!((first.len(), second.len()) == (60, 40));
    Ok(())
}

/// Versions, imports, ordinals, case ids.
pub async fn unknown_things_are_not_found(ports: &Ports) -> Result<()> {
    let dataset = import(ports, train(2)).await?.id;
    let absent = DatasetId(sample::hash("absent"));
    let datasets = &ports.datasets;
    ensure!(matches!(
        datasets.get_dataset(absent).await,
        Err(StoreError::NotFound { .. })
    ));
    ensure!(matches!(
        datasets.cases(dataset, Split::Train, &[0, 2]).await,
        Err(StoreError::NotFound { .. })
    ));
    ensure!(matches!(
        datasets.cases(dataset, Split::Test, &[0]).await,
        Err(StoreError::NotFound { .. })
    ));
    ensure!(matches!(
        datasets.commit_import(ImportId(999)).await,
        Err(StoreError::NotFound { .. })
    ));
    ensure!(
        datasets
            .find_case(dataset, &CaseId::new("t9"))
            .await?
            .is_none()
    );
    Ok(())
}

/// The same seed gives the same split; another gives another.
pub async fn a_split_is_seeded_and_keeps_the_order(ports: &Ports) -> Result<()> {
    let split = async |seed| {
        let import = ports.datasets.begin_import("p").await?;
        ports.datasets.import_cases(import, train(200)).await?;
        ports.datasets.split_import(import, 0.3, seed).await?;
        let dataset = ports.datasets.commit_import(import).await?;
        let train = ids(ports, dataset.id, Split::Train).await?;
        let val = ids(ports, dataset.id, Split::Val).await?;
        anyhow::Ok((dataset, train, val))
    };
    let (dataset, train, val) = split(1).await?;
    ensure!(val.len() == 60 && train.len() == 140);
    ensure!(
        dataset.cases.into_iter().collect::<Vec<_>>() == [(Split::Train, 140), (Split::Val, 60)]
    );
    for part in [&train, &val] {
        let numbers: Vec<u32> = part.iter().filter_map(|id| id[1..].parse().ok()).collect();
        ensure!(numbers.len() == part.len() && numbers.is_sorted());
    }
    let all: BTreeSet<_> = train.iter().chain(&val).collect();
    ensure!(all.len() == 200);
    ensure!(split(1).await?.2 == val);
    ensure!(split(2).await?.2 != val);
    // every ordinal can be read
    let ordinals: Vec<u64> = (0..60).collect();
    ensure!(
        ports
            .datasets
            .cases(dataset.id, Split::Val, &ordinals)
            .await?
            .len()
            == 60
    );
    Ok(())
}

/// Twenty questions, each asked five times in other words' clothes: no question may stand on both sides.
pub async fn a_split_keeps_near_duplicates_together(ports: &Ports) -> Result<()> {
    let mut cases = Vec::new();
    for n in 0..100u64 {
        let text = match n / 20 {
            0 => format!("Where does river {} end", n % 20),
            1 => format!("WHERE does   river {} end?", n % 20),
            2 => format!("where, does river {}; end", n % 20),
            3 => format!("\"Where does river {} END!\"", n % 20),
            _ => format!("where does river\n{} end...", n % 20),
        };
        let case = sample::case(&format!("c{n}"), &text, "sea");
        cases.push(incoming(Split::Train, n + 1, case));
    }
    let import = ports.datasets.begin_import("p").await?;
    ports.datasets.import_cases(import, cases).await?;
    ports.datasets.split_import(import, 0.5, 7).await?;
    let dataset = ports.datasets.commit_import(import).await?;
    let group = |id: &String| id[1..].parse::<u32>().map(|n| n % 20);
    let train = ids(ports, dataset.id, Split::Train).await?;
    let val = ids(ports, dataset.id, Split::Val).await?;
    ensure!(train.len() == 50 && val.len() == 50);
    let left: BTreeSet<u32> = train.iter().map(group).collect::<Result<_, _>>()?;
    let right: BTreeSet<u32> = val.iter().map(group).collect::<Result<_, _>>()?;
    ensure!(left.is_disjoint(&right));
    ensure!(dataset.near_duplicates.is_empty());
    Ok(())
}

/// Forty tickets under one long instruction resemble one another, and are forty cases all the same.
pub async fn a_split_of_cases_with_one_instruction_leaves_no_part_empty(
    ports: &Ports,
) -> Result<()> {
    let instruction: Vec<String> = (0..200).map(|n| format!("word{n}")).collect();
    let instruction = instruction.join(" ");
    for (count, fraction, moved) in [(40, 0.5, 20), (40, 0.1, 4), (2, 0.9, 1), (3, 0.05, 1)] {
        let cases = (0..count)
            .map(|n| {
                let case = sample::case(&format!("c{n}"), &format!("{instruction} {n}"), "x");
                incoming(Split::Train, n + 1, case)
            })
            .collect();
        let import = ports.datasets.begin_import("p").await?;
        ports.datasets.import_cases(import, cases).await?;
        ports.datasets.split_import(import, fraction, 7).await?;
        let dataset = ports.datasets.commit_import(import).await?;
        let (train, val) = (dataset.cases[&Split::Train], dataset.cases[&Split::Val]);
        ensure!(train + val == count);
        ensure!(
            val > 0 && val <= moved && val * 2 > moved,
            "{val} of {count} at {fraction}"
        );
    }
    Ok(())
}

/// Equal up to form, and nearly equal long texts; not short texts that differ in a word.
pub async fn near_duplicates_across_splits_are_reported(ports: &Ports) -> Result<()> {
    let long: Vec<String> = (0..120).map(|n| format!("word{}", n * 7 % 61)).collect();
    let mut nearly = long.clone();
    nearly[60] = "another".to_owned();
    let one = |split, id: &str, text: &str| incoming(split, 1, sample::case(id, text, "x"));
    let dataset = import(
        ports,
        vec![
            one(Split::Train, "a", "Who wrote it?"),
            one(Split::Train, "b", &long.join(" ")),
            one(Split::Train, "c", "What is seven plus eight?"),
            one(Split::Val, "d", "who WROTE it"),
            one(Split::Test, "e", &nearly.join(" ")),
            one(Split::Val, "f", "What is seven plus nine?"),
            one(Split::Train, "g", "who wrote it"),
        ],
    )
    .await?;
    let pairs: BTreeSet<(&str, &str)> = dataset
        .near_duplicates
        .iter()
        .map(|pair| (pair.a.1.as_str(), pair.b.1.as_str()))
        .collect();
    ensure!(pairs.contains(&("a", "d")), "{pairs:?}");
    ensure!(pairs.contains(&("b", "e")), "{pairs:?}");
    ensure!(
        pairs
            .iter()
            .all(|pair| !matches!(pair, ("c" | "f", _) | (_, "c" | "f"))),
        "{pairs:?}"
    );
    ensure!(ports.datasets.get_dataset(dataset.id).await? == dataset);
    Ok(())
}

/// Its cases are gone, its id is of no more use, and others are untouched.
pub async fn an_aborted_import_is_gone(ports: &Ports) -> Result<()> {
    let kept = import(ports, train(4)).await?;
    let gone = ports.datasets.begin_import("p").await?;
    ports.datasets.import_cases(gone, train(9)).await?;
    ports.datasets.abort_import(gone).await?;
    ensure!(matches!(
        ports.datasets.import_cases(gone, train(1)).await,
        Err(StoreError::NotFound { .. })
    ));
    ensure!(ids(ports, kept.id, Split::Train).await?.len() == 4);
    Ok(())
}

/// Two at once may use the same case ids.
pub async fn imports_do_not_mix(ports: &Ports) -> Result<()> {
    let (a, b) = (
        ports.datasets.begin_import("a").await?,
        ports.datasets.begin_import("b").await?,
    );
    for n in 0..3 {
        let of = |count| vec![train(count)[n].clone()];
        ensure!(ports.datasets.import_cases(a, of(3)).await?.is_empty());
        ensure!(ports.datasets.import_cases(b, of(4)).await?.is_empty());
    }
    let extra = vec![train(4)[3].clone()];
    ports.datasets.import_cases(b, extra).await?;
    let (a, b) = (
        ports.datasets.commit_import(a).await?,
        ports.datasets.commit_import(b).await?,
    );
    ensure!(ids(ports, a.id, Split::Train).await? == ["t0", "t1", "t2"]);
    ensure!(ids(ports, b.id, Split::Train).await? == ["t0", "t1", "t2", "t3"]);
    Ok(())
}
