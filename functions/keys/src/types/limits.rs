//! Limits, which keys, teams, users and budgets have alike.

use std::collections::BTreeMap;

use keyturn_keys::{Limits, ModelBudget, Period};
use serde::Serialize;
use utoipa::ToSchema;

use super::scalars::ModelLimit;

/// A request with the fields that limits have, besides its own. They are fields of the request itself, not of a
/// flattened part: which fields a request takes is read from its own schema.
macro_rules! with_limits {
    ($(#[$meta:meta])* $name:ident { $($(#[$own_meta:meta])* $own:ident: $own_type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Default, ::serde::Deserialize, ::utoipa::ToSchema)]
        pub(crate) struct $name {
            $($(#[$own_meta])* pub(crate) $own: $own_type,)*
            /// US dollars, in each window of `budget_duration`, or in all.
            #[serde(default)]
            #[schema(value_type = Option<$crate::types::scalars::Dollars>)]
            max_budget: ::keyturn_keys::manage::Patch<f64>,
            /// US dollars above which requests are admitted with a warning.
            #[serde(default)]
            #[schema(value_type = Option<$crate::types::scalars::Dollars>)]
            soft_budget: ::keyturn_keys::manage::Patch<f64>,
            /// How long a budget's window is; null = for ever.
            #[serde(default)]
            #[schema(value_type = Option<$crate::types::scalars::Duration>)]
            budget_duration: ::keyturn_keys::manage::Patch<::keyturn_keys::Period>,
            /// Budgets of single models.
            #[serde(default)]
            #[schema(value_type = Option<::std::collections::BTreeMap<String, $crate::types::scalars::ModelLimit>>)]
            model_max_budget: ::keyturn_keys::manage::Patch<::std::collections::BTreeMap<String, ::keyturn_keys::ModelBudget>>,
            /// Requests in a minute.
            #[serde(default, deserialize_with = "crate::types::scalars::count")]
            #[schema(value_type = Option<$crate::types::scalars::Count>)]
            rpm_limit: ::keyturn_keys::manage::Patch<u64>,
            /// Tokens in a minute.
            #[serde(default, deserialize_with = "crate::types::scalars::count")]
            #[schema(value_type = Option<$crate::types::scalars::Count>)]
            tpm_limit: ::keyturn_keys::manage::Patch<u64>,
            /// Requests in a minute for single models.
            #[serde(default, deserialize_with = "crate::types::scalars::counts")]
            #[schema(value_type = Option<::std::collections::BTreeMap<String, $crate::types::scalars::Count>>)]
            model_rpm_limit: ::keyturn_keys::manage::Patch<::std::collections::BTreeMap<String, u64>>,
            /// Tokens in a minute for single models.
            #[serde(default, deserialize_with = "crate::types::scalars::counts")]
            #[schema(value_type = Option<::std::collections::BTreeMap<String, $crate::types::scalars::Count>>)]
            model_tpm_limit: ::keyturn_keys::manage::Patch<::std::collections::BTreeMap<String, u64>>,
            /// Requests under way at once.
            #[serde(default, deserialize_with = "crate::types::scalars::count")]
            #[schema(value_type = Option<$crate::types::scalars::Count>)]
            max_parallel_requests: ::keyturn_keys::manage::Patch<u64>,
        }

        impl $name {
            /// Takes the limits that it asks for.
            pub(crate) fn limits(&mut self) -> ::keyturn_keys::manage::LimitFields {
                use std::mem::take;
                ::keyturn_keys::manage::LimitFields {
                    max_budget: take(&mut self.max_budget),
                    soft_budget: take(&mut self.soft_budget),
                    budget_duration: take(&mut self.budget_duration),
                    model_max_budget: take(&mut self.model_max_budget),
                    rpm_limit: take(&mut self.rpm_limit),
                    tpm_limit: take(&mut self.tpm_limit),
                    model_rpm_limit: take(&mut self.model_rpm_limit),
                    model_tpm_limit: take(&mut self.model_tpm_limit),
                    max_parallel_requests: take(&mut self.max_parallel_requests),
                }
            }
        }
    };
}

pub(crate) use with_limits;

/// The limits of an answer, among its other fields.
#[derive(Serialize, ToSchema)]
pub(crate) struct LimitsRow {
    /// Requests under way at once.
    max_parallel_requests: Option<u64>,
    /// Tokens in a minute.
    tpm_limit: Option<u64>,
    /// Requests in a minute.
    rpm_limit: Option<u64>,
    /// Tokens in a minute for single models.
    model_tpm_limit: BTreeMap<String, u64>,
    /// Requests in a minute for single models.
    model_rpm_limit: BTreeMap<String, u64>,
    /// US dollars.
    max_budget: Option<f64>,
    /// US dollars above which requests are admitted with a warning.
    soft_budget: Option<f64>,
    /// How long a budget's window is.
    #[schema(value_type = Option<String>)]
    budget_duration: Option<Period>,
    /// Budgets of single models.
    #[schema(value_type = BTreeMap<String, ModelLimit>)]
    model_max_budget: BTreeMap<String, ModelBudget>,
}

impl From<Limits> for LimitsRow {
    fn from(limits: Limits) -> Self {
        Self {
            max_parallel_requests: limits.max_parallel_requests,
            tpm_limit: limits.tpm_limit,
            rpm_limit: limits.rpm_limit,
            model_tpm_limit: limits.model_tpm_limit,
            model_rpm_limit: limits.model_rpm_limit,
            max_budget: limits.max_budget,
            soft_budget: limits.soft_budget,
            budget_duration: limits.budget_duration,
            model_max_budget: limits.model_max_budget,
        }
    }
}
