//! What the settings mean for the router: its rules, those of each backend and of each group.

use crate::guard;
use crate::router::{BackendPolicy, Balance, Caps, GroupPolicy, Member, Policy, Rate};
use crate::settings::{self, BackendSettings, GroupSettings, MemberSettings, Settings};

/// The router's rules as the settings have them.
pub(crate) fn policy(settings: &Settings) -> Policy {
    Policy {
        validity: settings.router.validity,
        on_uncertain: settings.router.on_uncertain,
        app_timeout: settings.router.app_timeout,
        max_pending: settings.router.max_pending,
        join_within: settings.router.join_within,
        retention: settings.database.purge_after,
        loop_limits: guard::Limits {
            repetitions: settings.router.loop_repeats,
            repetition_time: settings.router.loop_repeats_within,
            replies: settings.router.loop_replies,
            reply_time: settings.router.loop_replies_within,
        },
        groups: settings.groups.iter().map(group_policy).collect(),
        ..Policy::default()
    }
}

fn group_policy(group: &GroupSettings) -> GroupPolicy {
    let member = |member: &MemberSettings| Member {
        backend: member.backend.as_str().into(),
        prefixes: member.prefixes.clone(),
    };
    GroupPolicy {
        name: group.name.as_str().into(),
        members: group.members.iter().map(member).collect(),
        balance: match group.balance {
            settings::Balance::InTurn => Balance::InTurn,
            settings::Balance::LeastBusy => Balance::LeastBusy,
            settings::Balance::First => Balance::First,
        },
        replies: group.replies,
    }
}

/// A backend's rules as the settings have them.
pub(crate) fn backend_policy(settings: &BackendSettings, window: usize) -> BackendPolicy {
    let limits = settings.limits;
    BackendPolicy {
        window,
        tester: settings.tester,
        allow_test_traffic: settings.allow_test_traffic,
        loop_guard: settings.loop_guard,
        validity: Some(settings.validity),
        on_uncertain: Some(settings.on_uncertain),
        caps: Caps {
            per_day: limits.daily_cap,
            per_month: limits.monthly_cap,
            resets_at: limits.resets_at,
            resets_on: limits.caps_day.max(1),
            utc_offset: limits.utc_offset,
        },
        rate: Rate { per_minute: limits.rate, min_gap: limits.gap },
        shows_answered: false,
    }
}
