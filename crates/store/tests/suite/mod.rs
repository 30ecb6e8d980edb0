//! The contract, on either database: each case gets the URL of an empty one.

pub mod kit;
mod ledger;
mod rows;
mod search;
mod start;

use std::panic::AssertUnwindSafe;
use std::time::Instant;

/// Runs `case`, and says which it was when it fails.
pub fn run<F: Future<Output = ()>>(name: &str, case: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let started = Instant::now();
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(case())));
    runtime.shutdown_background();
    println!("case {name}: {:.1?}", started.elapsed());
    if let Err(panic) = result {
        eprintln!("failed: case {name}");
        std::panic::resume_unwind(panic);
    }
}

/// All cases; `database` makes an empty database of the given name and returns its URL.
pub fn contract(database: impl Fn(&str) -> String) {
    macro_rules! cases {
        ($($module:ident::$case:ident),* $(,)?) => {
            $( run(stringify!($case), || $module::$case(database(stringify!($case)))); )*
        };
    }
    cases!(
        rows::newest_first_with_all_fields,
        rows::logs_of_one_instant_keep_the_queue_order,
        rows::unicode_and_odd_text,
        rows::filters,
        rows::all_devices,
        rows::counting_has_a_limit,
        rows::found_by_the_plugins_that_made_them,
        rows::split_and_merged,
        rows::paging_under_inserts,
        rows::exact_pages_end,
        rows::large_batches,
        rows::statistics,
        rows::statistics_are_exact_under_load,
        rows::forgetting,
        rows::verdicts_of_plugins,
        rows::refused_data,
        search::what_is_found,
        search::what_never_meets_is_not_found,
        search::a_search_has_a_time_limit,
        search::pages_have_a_limit_of_bytes,
        search::totals_of_a_search,
        search::indexes_are_noted,
        search::older_rows_are_found_once_they_are_indexed,
        search::searching_after_forgetting,
        ledger::knows_what_was_committed,
        ledger::finds_batches_of_all_widths,
        ledger::the_ledger_forgets_all_there_is_to_forget,
        ledger::the_same_batch_again_is_ok_and_stored_once,
        ledger::the_same_batch_at_once_is_stored_once,
        ledger::a_fenced_lease_commits_no_more,
        ledger::a_new_server_of_the_queue_fences_all,
        ledger::what_committed_says_after_a_fence_is_final,
        ledger::the_ledger_forgets_in_time,
        ledger::the_ledger_remembers_what_is_in_the_queue,
        start::eight_at_once,
        start::reopened_it_has_everything,
        start::tokens_are_kept_until_they_are_revoked,
    );
}
