//! What the management API does, on every store.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod callers;
mod crossing;
mod dynamo;
mod kept;
mod keys;
mod lists;
mod owners;
mod regenerate;
mod spend;
mod values;

/// Hands the list of scenarios to a macro that makes tests of them on one store. A store joins with a file that has a
/// `start` and `crate::scenarios!(crate::run_on, start);`.
macro_rules! scenarios {
    ($run:path, $start:path) => {
        $run! { $start:
            callers::users_manage_their_own_keys,
            callers::team_admins_manage_the_teams_keys,
            keys::a_key_is_what_was_asked_for,
            keys::nothing_is_left_of_a_duplicate,
            keys::fields_that_make_no_sense_are_refused,
            keys::an_update_changes_what_it_names,
            keys::aliases_are_claimed_and_given_back,
            keys::updates_at_once_are_all_made,
            keys::deleted_keys_are_gone,
            keys::a_service_account_belongs_to_a_team,
            keys::busy_keys_get_shares,
            kept::values_are_kept_before_the_key_is_made,
            kept::a_regeneration_goes_on_where_it_broke_off,
            kept::a_failing_secret_store_leaves_the_key_as_it_was,
            kept::the_schedule_regenerates_what_is_due,
            kept::what_was_left_behind_is_tidied_up,
            kept::master_keys_are_not_kept,
            kept::what_cannot_be_read_yet_is_not_lost,
            lists::keys_come_in_pages,
            lists::filters_find_what_they_say,
            lists::reports_add_usage_up,
            owners::a_team_and_its_members,
            owners::deleted_teams_take_their_keys_along,
            owners::a_user_comes_with_a_key,
            owners::a_budget_gives_limits,
            regenerate::both_values_work_until_the_grace_is_over,
            regenerate::without_a_grace_all_former_values_end,
            regenerate::a_repeat_changes_nothing,
            regenerate::values_must_be_free,
            spend::spend_is_set_and_what_is_settled_meanwhile_stays,
            spend::two_resets_at_once_are_one,
            spend::a_new_window_takes_spend_over,
            values::a_value_is_added_beside_others_and_ended_alone,
            values::two_at_once_are_two,
            values::what_cannot_be_added_or_ended_is_refused,
            values::an_added_value_is_kept,
            values::a_master_key_works_at_every_gateway,
        }
    };
}

/// Makes a test of each scenario.
macro_rules! run_on {
    ($start:path: $($module:ident::$name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (home, store) = $start().await;
                crate::$module::$name(&crate::bench::Bench::on(store)).await;
                drop(home);
            }
        )*
    };
}

pub(crate) use {run_on, scenarios};
