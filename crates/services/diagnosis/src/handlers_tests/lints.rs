//! Where and for how long the lints compute.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Reviews a proposal while the only thread for computing is taken, until another task of the same runtime frees it; with
/// `stop` cancelled by then, or not. Whether that task had its turn, and what the lints say.
fn lint_beside_other_work(cancel: bool) -> (bool, Result<bool, WorkError>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let setting = setting(|_| {});
        let candidate = setting.child("Give the name alone.");
        let task = setting.review_task(candidate);
        let spec = fapo_domain::ports::jobs::Jobs::get_job(&*setting.store, JobId::at(0, [7; 10]))
            .await
            .unwrap()
            .spec;
        let (free, taken) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || taken.recv());
        let had_its_turn = Arc::new(AtomicBool::new(false));
        let stop = CancellationToken::new();
        let other = {
            let (had_its_turn, stop) = (had_its_turn.clone(), stop.clone());
            tokio::spawn(async move {
                had_its_turn.store(true, Ordering::SeqCst);
                if cancel {
                    stop.cancel();
                }
                free.send(()).unwrap();
            })
        };
        let said = setting.review().review(&spec, &task, &stop).await;
        let had_its_turn = had_its_turn.load(Ordering::SeqCst);
        other.await.unwrap();
        busy.await.unwrap().unwrap();
        (had_its_turn, said.map(|(report, _)| report.passed()))
    })
}

#[test]
fn lints_compute_beside_other_work() {
    let (had_its_turn, said) = lint_beside_other_work(false);
    assert!(had_its_turn);
    assert!(said.unwrap());
}

#[test]
fn lints_heed_a_stop_that_comes_while_they_compute() {
    let (_, said) = lint_beside_other_work(true);
    assert_eq!(said.unwrap_err().reason, "INTERRUPTED");
}

#[tokio::test]
async fn no_case_is_read_for_a_tree_over_its_sizes() {
    let setting = setting(|_| {});
    let (parent, _) = samples::single_hop();
    let mut child = parent;
    child.insert("prompts/large.md", vec![b'x'; 300 * 1024]);
    let reviewed = setting.reviewed(setting.store.add_tree(&child)).await;
    let lints: Vec<Lint> = reviewed
        .lints
        .refusals
        .iter()
        .map(|finding| finding.lint)
        .collect();
    assert_eq!(lints, [Lint::TooLarge, Lint::TooLarge]);
    assert_eq!(setting.store.splits_read(), []);
}
