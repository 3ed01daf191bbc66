//! Conformance suites: what every implementation of a port must do.
//!
//! A suite is a set of async functions over the port, and a macro that makes a test of each, by the same name for every
//! implementation. [`crate::store_suites!`] covers all persistence ports, [`crate::queue_suite!`] the task queue,
//! [`crate::optimizer_suite!`] the jobs as clients see them, [`crate::limits_suite!`] the shared limits.

use std::any::Any;
use std::sync::Arc;

use fapo_domain::ports::access::{Requests, Tokens};
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::jobs::{Findings, Jobs, Proposals};
use fapo_domain::ports::ledger::Ledger;
use fapo_domain::ports::retention::Retention;
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::sessions::Sessions;
use fapo_domain::ports::tasks::Tasks;
use fapo_domain::ports::traces::{TraceQueries, Traces};
use fapo_domain::ports::variants::Variants;

use crate::clock::ManualClock;

pub mod alone;
pub mod blobs;
pub mod cache;
pub mod datasets;
pub mod findings;
pub mod jobs;
pub mod ledger;
pub mod limits;
pub mod optimizer;
pub mod proposals;
pub mod questions;
pub mod queue;
pub mod requests;
pub mod retention;
pub mod scores;
pub mod sessions;
pub mod tasks;
pub mod tokens;
pub mod traces;
pub mod variants;

/// All persistence ports of one fresh back end, and the clock it reads.
pub struct Ports {
    /// The clock.
    pub clock: Arc<ManualClock>,
    /// See [`Blobs`].
    pub blobs: Arc<dyn Blobs>,
    /// See [`Datasets`].
    pub datasets: Arc<dyn Datasets>,
    /// See [`Variants`].
    pub variants: Arc<dyn Variants>,
    /// See [`Traces`].
    pub traces: Arc<dyn Traces>,
    /// See [`TraceQueries`].
    pub questions: Arc<dyn TraceQueries>,
    /// See [`Retention`].
    pub retention: Arc<dyn Retention>,
    /// See [`Scores`].
    pub scores: Arc<dyn Scores>,
    /// See [`StepCache`].
    pub cache: Arc<dyn StepCache>,
    /// See [`Ledger`].
    pub ledger: Arc<dyn Ledger>,
    /// See [`Tasks`].
    pub tasks: Arc<dyn Tasks>,
    /// See [`Jobs`].
    pub jobs: Arc<dyn Jobs>,
    /// See [`Findings`].
    pub findings: Arc<dyn Findings>,
    /// See [`Proposals`].
    pub proposals: Arc<dyn Proposals>,
    /// See [`Sessions`].
    pub sessions: Arc<dyn Sessions>,
    /// See [`Tokens`].
    pub tokens: Arc<dyn Tokens>,
    /// See [`Requests`].
    pub requests: Arc<dyn Requests>,
    /// Whatever must live as long as the ports: a folder, a server.
    pub keep: Box<dyn Any + Send + Sync>,
}

impl Ports {
    /// The ports of a store that implements all of them.
    pub fn of<S>(store: S, clock: Arc<ManualClock>, keep: impl Any + Send + Sync) -> Self
    where
        S: Blobs
            + Datasets
            + Variants
            + Traces
            + TraceQueries
            + Retention
            + Scores
            + StepCache
            + Ledger
            + Tasks
            + Jobs
            + Findings
            + Proposals
            + Sessions
            + Tokens
            + Requests
            + 'static,
    {
        let store = Arc::new(store);
        Self {
            clock,
            blobs: Arc::<S>::clone(&store),
            datasets: Arc::<S>::clone(&store),
            variants: Arc::<S>::clone(&store),
            traces: Arc::<S>::clone(&store),
            questions: Arc::<S>::clone(&store),
            retention: Arc::<S>::clone(&store),
            scores: Arc::<S>::clone(&store),
            cache: Arc::<S>::clone(&store),
            ledger: Arc::<S>::clone(&store),
            tasks: Arc::<S>::clone(&store),
            jobs: Arc::<S>::clone(&store),
            findings: Arc::<S>::clone(&store),
            proposals: Arc::<S>::clone(&store),
            sessions: Arc::<S>::clone(&store),
            tokens: Arc::<S>::clone(&store),
            requests: store,
            keep: Box::new(keep),
        }
    }
}

/// All suites of the persistence ports for one back end, as a module of modules of tests.
///
/// `store_suites!(sqlite, || async { Ok(Ports::of(store, clock, folder)) })`; `$make` gives a fresh back end each time. A list of
/// suites after it, in brackets, takes only those: a store that processes share leaves out `alone`.
#[macro_export]
macro_rules! store_suites {
    ($module:ident, $make:expr) => {
        $crate::store_suites!($module, $make, [
            blobs, variants, datasets, jobs, tasks, alone, traces, questions, scores, cache, ledger,
            findings, proposals, sessions, retention, tokens, requests,
        ]);
    };
    ($module:ident, $make:expr, [$($suite:ident),+ $(,)?]) => {
        mod $module {
            use super::*;
            $($crate::store_suites!(@named $make, $suite);)+
        }
    };
    (@named $make:expr, blobs) => {
        $crate::store_suites!(@suite $make, blobs, [
            bytes_come_back_in_the_order_asked_for,
            storing_again_is_harmless,
            an_absent_blob_is_not_found,
            absent_blobs_are_told_in_the_order_asked_for,
            large_and_empty_blobs_are_kept_exactly,
        ]);
    };
    (@named $make:expr, variants) => {
        $crate::store_suites!(@suite $make, variants, [
            a_tree_comes_back_byte_for_byte,
            storing_again_gives_the_same_id,
            an_absent_variant_is_not_found,
        ]);
    };
    (@named $make:expr, datasets) => {
        $crate::store_suites!(@suite $make, datasets, [
            cases_come_back_in_the_order_of_the_import,
            an_import_is_invisible_until_committed,
            the_id_depends_on_content_and_order_only,
            an_equal_version_is_returned,
            duplicates_are_told_with_both_places_and_refuse_the_commit,
            at_most_a_hundred_duplicates_are_told,
            unknown_things_are_not_found,
            a_split_is_seeded_and_keeps_the_order,
            a_split_keeps_near_duplicates_together,
            a_split_of_cases_with_one_instruction_leaves_no_part_empty,
            near_duplicates_across_splits_are_reported,
            an_aborted_import_is_gone,
            imports_do_not_mix,
        ]);
    };
    (@named $make:expr, jobs) => {
        $crate::store_suites!(@suite $make, jobs, [
            a_job_comes_back_as_it_was_made,
            creating_again_is_harmless_unless_the_spec_differs,
            jobs_are_listed_newest_first,
            a_tick_commits_everything_at_once,
            a_tick_on_an_old_version_writes_nothing,
            of_two_ticks_at_once_one_wins,
            a_failed_tick_writes_nothing,
            a_final_job_has_its_queued_tasks_cancelled,
            jobs_to_tick_are_those_with_something_to_do,
            events_can_be_read_from_any_point,
            the_sealed_test_opens_once_and_with_its_tick,
            a_paused_job_begins_nothing_until_it_is_resumed,
            a_task_carries_the_trace_of_its_tick,
            a_lease_of_a_final_job_is_not_renewed,
        ]);
    };
    (@named $make:expr, tasks) => {
        $crate::store_suites!(@suite $make, tasks, [
            a_claimed_task_is_held_until_its_lease_ends,
            of_many_claimers_one_succeeds,
            a_stale_claim_can_write_nothing,
            completing_twice_is_harmless,
            a_failed_task_waits_then_dies_after_its_attempts,
            interrupted_claims_do_not_count_as_attempts,
            a_killed_task_is_dead_at_once,
            finished_tasks_come_in_order_of_creation_until_consumed,
            due_tasks_are_those_that_wait_for_a_worker,
            tasks_of_a_final_job_are_over,
            dead_tasks_can_be_revived,
            an_unknown_task_is_not_found,
        ]);
    };
    (@named $make:expr, alone) => {
        $crate::store_suites!(@suite $make, alone, [
            released_leases_can_be_claimed_at_once_and_fence_the_old_owner,
            released_claims_do_not_count_as_attempts,
        ]);
    };
    (@named $make:expr, traces) => {
        $crate::store_suites!(@suite $make, traces, [
            runs_come_back_with_all_their_steps,
            a_final_run_stays_and_a_missing_one_is_replaced,
            finished_ordinals_leave_out_missing_runs,
            a_stale_fence_stores_nothing,
            a_block_is_stored_as_a_whole,
            long_values_shared_by_runs_come_back,
        ]);
    };
    (@named $make:expr, questions) => {
        $crate::store_suites!(@suite $make, questions, [
            a_jobs_evaluations_come_in_the_order_of_their_first_task,
            a_search_lists_runs_by_ordinal_page_by_page,
            every_condition_of_a_search_holds,
            outputs_are_searched_whole_and_shown_cut_short,
            figures_of_an_evaluation_add_up,
            an_unknown_evaluation_has_no_runs_and_no_figures,
        ]);
    };
    (@named $make:expr, retention) => {
        $crate::store_suites!(@suite $make, retention, [
            traces_of_a_job_that_ended_before_go_and_the_job_stays,
            what_a_running_job_may_need_stays,
            a_dry_run_counts_the_same_and_changes_nothing,
            a_blob_that_something_names_stays,
            a_blob_stored_lately_stays,
            what_went_can_be_stored_again,
            old_step_results_go_and_new_ones_are_found,
            a_large_evaluation_goes_as_a_whole,
            a_job_that_was_revived_is_not_touched,
        ]);
    };
    (@named $make:expr, scores) => {
        $crate::store_suites!(@suite $make, scores, [
            scores_come_back_by_ordinal_with_cost_and_time,
            a_score_stays_and_a_missing_one_is_replaced,
            another_scorer_is_refused,
            a_stale_fence_stores_nothing,
            a_score_outside_the_unit_interval_is_refused,
        ]);
    };
    (@named $make:expr, cache) => {
        $crate::store_suites!(@suite $make, cache, [
            a_step_comes_back_as_it_was_stored,
            the_first_result_under_a_key_stays_and_every_charge_is_settled,
            a_fingerprint_is_known_once_something_is_stored,
            many_at_once_each_get_their_own,
        ]);
    };
    (@named $make:expr, ledger) => {
        $crate::store_suites!(@suite $make, ledger, [
            what_is_reserved_settled_and_lost_adds_up,
            a_cap_is_never_passed_by_concurrent_callers,
            an_exhausted_caller_fails_alone_and_hears_whether_to_wait,
            room_is_kept_within_the_caps,
            room_given_back_by_one_claim_serves_another,
            an_ended_claim_keeps_no_room,
            a_stale_claim_cannot_reserve,
            tries_without_an_answer_count_as_lost,
            closing_counts_the_rest_as_lost_once,
            the_end_of_a_claim_counts_what_it_still_holds_as_lost,
            a_late_settlement_replaces_the_guess,
            opening_again_replaces_the_caps,
            an_account_that_was_never_opened_is_not_found,
        ]);
    };
    (@named $make:expr, findings) => {
        $crate::store_suites!(@suite $make, findings, [
            an_attribution_comes_back_and_can_be_replaced,
            a_stale_fence_stores_no_attribution,
        ]);
    };
    (@named $make:expr, proposals) => {
        $crate::store_suites!(@suite $make, proposals, [
            the_first_proposal_under_a_task_stays,
            a_stale_fence_stores_no_proposal,
        ]);
    };
    (@named $make:expr, sessions) => {
        $crate::store_suites!(@suite $make, sessions, [
            a_session_comes_back_with_its_transcript,
            the_first_record_of_a_session_stays,
            a_jobs_sessions_come_in_the_order_of_their_start,
            a_session_is_found_by_the_start_of_its_id,
        ]);
    };
    (@named $make:expr, tokens) => {
        $crate::store_suites!(@suite $make, tokens, [
            a_token_is_found_by_its_hash_and_by_nothing_else,
            a_token_that_exists_is_not_made_again,
            tokens_are_listed_in_order_of_creation_without_their_hashes,
            a_revoked_token_stays_revoked_since_the_first_moment,
        ]);
    };
    (@named $make:expr, requests) => {
        $crate::store_suites!(@suite $make, requests, [
            a_repeated_request_gets_the_first_job,
            a_key_with_another_request_is_refused,
            keys_of_projects_do_not_mix,
            of_many_callers_all_get_the_same_job,
        ]);
    };
    (@suite $make:expr, $suite:ident, [$($name:ident),+ $(,)?]) => {
        mod $suite {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() -> anyhow::Result<()> {
                    let ports: $crate::suites::Ports = ($make)().await?;
                    $crate::suites::$suite::$name(&ports).await
                }
            )+
        }
    };
}

#[cfg(test)]
mod tests {
    /// A test that the macro does not name would never run.
    #[test]
    fn every_function_of_a_suite_is_named_by_the_macro() {
        let macros = include_str!("suites.rs");
        for (suite, text) in [
            ("alone", include_str!("suites/alone.rs")),
            ("blobs", include_str!("suites/blobs.rs")),
            ("cache", include_str!("suites/cache.rs")),
            ("datasets", include_str!("suites/datasets.rs")),
            ("findings", include_str!("suites/findings.rs")),
            ("jobs", include_str!("suites/jobs.rs")),
            ("ledger", include_str!("suites/ledger.rs")),
            ("proposals", include_str!("suites/proposals.rs")),
            ("questions", include_str!("suites/questions.rs")),
            ("requests", include_str!("suites/requests.rs")),
            ("retention", include_str!("suites/retention.rs")),
            ("scores", include_str!("suites/scores.rs")),
            ("sessions", include_str!("suites/sessions.rs")),
            ("tasks", include_str!("suites/tasks.rs")),
            ("tokens", include_str!("suites/tokens.rs")),
            ("traces", include_str!("suites/traces.rs")),
            ("variants", include_str!("suites/variants.rs")),
        ] {
            let list = macros
                .split_once(&format!("@suite $make, {suite}, ["))
                .and_then(|(_, rest)| rest.split_once(']'))
                .map(|(list, _)| list)
                .unwrap();
            all_are_named(suite, text, list);
        }
        // these two have their lists beside them
        for (suite, text, more) in [
            ("limits", include_str!("suites/limits.rs"), ""),
            (
                "queue",
                include_str!("suites/queue.rs"),
                include_str!("suites/queue/fairness.rs"),
            ),
        ] {
            let (text, list) = text.split_once("macro_rules!").unwrap();
            all_are_named(suite, text, list);
            all_are_named(suite, more, list);
        }
    }

    fn all_are_named(suite: &str, text: &str, list: &str) {
        let names = text
            .split("pub async fn ")
            .skip(1)
            .filter_map(|rest| rest.split_once(['(', '<']))
            .map(|(name, _)| name);
        for name in names {
            assert!(
                list.contains(&format!("{name},")),
                "{suite}::{name} never runs"
            );
        }
    }
}
