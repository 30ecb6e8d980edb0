//! One contract, held against every backend; then what only one of them can do wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

mod cache;
mod cluster;
mod contract;
mod cut;
mod embedded;
mod feed;
mod killed;
mod once;
mod partitions;
mod redis;
mod world;

/// Runs every test of the contract on a backend of its own.
macro_rules! on_all {
    ($($name:ident),+ $(,)?) => {
        mod on_redis { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { crate::contract::$name(crate::world::World::redis()).await }
        )+ }
        mod on_partitions { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { crate::contract::$name(crate::world::World::partitioned()).await }
        )+ }
        mod on_a_cluster { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { crate::contract::$name(crate::world::World::cluster()).await }
        )+ }
        mod on_a_file { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { crate::contract::$name(crate::world::World::embedded()).await }
        )+ }
    };
}

on_all!(
    what_is_appended_is_read_and_acknowledged_once,
    ids_increase_and_order_is_kept,
    a_batch_is_appended_in_order,
    a_batch_over_the_limit_is_refused_whole,
    an_empty_read_waits_and_ends,
    a_read_wakes_on_an_append,
    a_read_takes_at_most_a_batch,
    two_consumers_share_without_overlap,
    what_is_dropped_is_delivered_again_with_its_tries,
    what_is_put_back_is_delivered_again_as_often_as_need_be,
    a_message_that_was_delivered_too_often_comes_alone,
    a_dead_consumer_is_named,
    what_is_in_hand_is_not_taken_twice,
    a_read_may_be_cancelled,
    what_is_buried_is_kept_shown_replayed_and_purged,
    a_letter_is_replayed_once,
    the_limit_of_letters_is_obeyed_and_violated,
    a_failure_is_told_beside_the_letter_and_not_replayed,
    unknown_letters_are_told,
    the_backlog_is_what_is_not_settled,
    the_oldest_is_the_first_that_is_not_settled,
    what_left_is_counted,
    the_limit_is_obeyed_and_violated,
    a_cancelled_append_keeps_the_count_right,
    concurrent_appends_get_ids_of_their_own,
    tries_count_on_in_a_settled_worker,
    the_limit_holds_for_appends_that_come_together,
    no_read_that_is_cut_loses_a_message,
    a_repeat_gets_the_first_ids_and_note,
    a_repeat_after_the_messages_left_appends_nothing,
    a_key_that_was_used_for_something_else_is_told,
    a_note_is_kept_also_without_messages,
    of_a_hundred_at_once_one_appends,
    a_key_is_forgotten_after_its_time,
    a_repeat_needs_no_room_and_a_first_does,
);
