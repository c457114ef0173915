//! What an attempt's failure leads to. Pure: attempt and failure in, decision out.

use crate::message::SendFailure;
use std::time::Duration;

/// The wait after the first failure.
pub const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait between two tries of one message.
pub const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// What to do about a message that may already have left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnUncertain {
    /// Send it once more; the receiver gets it at most twice.
    #[default]
    Resend,
    /// Keep it for a person; the receiver gets it at most once.
    Hold,
}

/// What becomes of a message after a failed attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Try again after this long. Certainly no copy left.
    Retry(Duration),
    /// Give its turn back at once: it was not tried.
    Untried,
    /// Try once more after this long, knowing that a copy may have left.
    Uncertain(Duration),
    /// Keep it for a person.
    Hold,
    /// Never again.
    Fail,
    /// Never again: it may have left twice already.
    FailUncertain,
}

/// Decides. `attempt` counts from 1, `uncertain` is the number of earlier attempts without certainty, `jitter` is any
/// number: it spreads the waits by a fifth, so that many messages that failed together do not come back together.
pub fn decide(
    failure: &SendFailure,
    attempt: u32,
    uncertain: u32,
    on_uncertain: OnUncertain,
    jitter: u64,
) -> Decision {
    match failure {
        SendFailure::Temporary(_) => Decision::Retry(spread(backoff(attempt), jitter)),
        SendFailure::Throttled(wait, _) => Decision::Retry((*wait).max(Duration::from_millis(100))),
        SendFailure::Permanent(_) => Decision::Fail,
        SendFailure::Untried(_) => Decision::Untried,
        SendFailure::Unsure(_) if uncertain > 0 => Decision::FailUncertain,
        SendFailure::Unsure(_) => match on_uncertain {
            OnUncertain::Resend => Decision::Uncertain(spread(backoff(attempt), jitter)),
            OnUncertain::Hold => Decision::Hold,
        },
    }
}

/// The words of a failure.
pub fn reason(failure: &SendFailure) -> &str {
    match failure {
        SendFailure::Temporary(why)
        | SendFailure::Throttled(_, why)
        | SendFailure::Permanent(why)
        | SendFailure::Unsure(why)
        | SendFailure::Untried(why) => why,
    }
}

/// The wait after the `attempt`th failure in a row: doubled each time, within the longest.
pub fn backoff(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(20);
    FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}

/// Makes a wait up to a fifth longer or shorter, by `jitter`.
pub fn spread(wait: Duration, jitter: u64) -> Duration {
    let percent = 80 + (jitter % 41) as u32;
    wait.saturating_mul(percent) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit() {
        let waits: Vec<u64> = (1..=12).map(|attempt| backoff(attempt).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]);
        assert_eq!(backoff(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for jitter in 0..100 {
            let wait = spread(Duration::from_secs(100), jitter).as_secs();
            assert!((80..=120).contains(&wait), "{wait}");
        }
    }

    #[test]
    fn p5_duplicates_at_most_one_resend_after_doubt() {
        use OnUncertain::*;
        let unsure = SendFailure::Unsure("no answer".into());
        assert!(matches!(decide(&unsure, 1, 0, Resend, 0), Decision::Uncertain(_)));
        assert_eq!(decide(&unsure, 2, 1, Resend, 0), Decision::FailUncertain);
        assert_eq!(decide(&unsure, 1, 0, Hold, 0), Decision::Hold);
        let refused = SendFailure::Temporary("refused".into());
        assert!(matches!(decide(&refused, 9, 1, Hold, 0), Decision::Retry(_)), "certainty costs nothing");
    }
}
