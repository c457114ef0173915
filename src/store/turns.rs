//! Whose turn it is: how a claim is shared among backends that have something to claim, so that a flood on one delays nobody else.
//!
//! It is pure: both stores bring their own queues, and get the same shares.

/// Fills `limit` places from `queues`, which `pull` empties from the front: each queue gets as much as every other, as long as it has
/// something. Places that cannot be shared evenly go to the first queues after `last`, the one that began before; so over several
/// claims nobody is always last. Returns what was pulled, and the queue that began this time.
///
/// Each queue comes with its own bound, which it never exceeds. `pull` is asked once for each queue and round, and there are few rounds: a queue that
/// gives less than it was asked for is empty.
pub(super) fn in_turns<Q: Copy + Ord, T, E>(
    queues: &[(Q, usize)],
    last: Option<Q>,
    limit: usize,
    mut pull: impl FnMut(Q, usize) -> Result<Vec<T>, E>,
) -> Result<(Vec<T>, Option<Q>), E> {
    let first = queues.iter().position(|&(queue, _)| Some(queue) > last).unwrap_or(0);
    let in_order = queues.iter().cycle().skip(first).take(queues.len());
    let mut waiting: Vec<(Q, usize)> = in_order.filter(|(_, room)| *room > 0).copied().collect();
    let mut found = Vec::new();
    let mut began = None;
    while found.len() < limit && !waiting.is_empty() {
        let left = limit - found.len();
        let share = (left / waiting.len()).max(1);
        let mut going_on = Vec::with_capacity(waiting.len());
        for (queue, room) in waiting {
            if found.len() >= limit {
                break;
            }
            let asked = share.min(room);
            let pulled = pull(queue, asked)?;
            if !pulled.is_empty() {
                began = began.or(Some(queue));
            }
            if pulled.len() == asked && room > asked {
                going_on.push((queue, room - asked));
            }
            found.extend(pulled);
        }
        waiting = going_on;
    }
    Ok((found, began))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// How many each queue may give, and what was pulled from each.
    fn shares(lengths: &[usize], last: Option<usize>, limit: usize) -> (Vec<usize>, Option<usize>) {
        shares_within(lengths, &vec![usize::MAX; lengths.len()], last, limit)
    }

    fn shares_within(
        lengths: &[usize],
        rooms: &[usize],
        last: Option<usize>,
        limit: usize,
    ) -> (Vec<usize>, Option<usize>) {
        let queues: Vec<(usize, usize)> = rooms.iter().copied().enumerate().collect();
        let mut left: BTreeMap<usize, usize> = lengths.iter().copied().enumerate().collect();
        let pull = |queue: usize, count: usize| {
            let left = left.get_mut(&queue).ok_or(())?;
            let given = count.min(*left);
            *left -= given;
            Ok::<_, ()>(vec![queue; given])
        };
        let (pulled, began) = in_turns(&queues, last, limit, pull).unwrap();
        let count = |(queue, _): &(usize, usize)| pulled.iter().filter(|from| *from == queue).count();
        (queues.iter().map(count).collect(), began)
    }

    #[test]
    fn p7_isolation_a_flood_gets_no_more_than_what_the_others_leave() {
        assert_eq!(shares(&[50_000, 1, 3], None, 256), (vec![252, 1, 3], Some(0)));
        assert_eq!(shares(&[50_000, 50_000], None, 256), (vec![128, 128], Some(0)));
        assert_eq!(shares(&[9, 0, 9], None, 4), (vec![2, 0, 2], Some(0)));
        assert_eq!(shares(&[0, 0], Some(1), 4), (vec![0, 0], None));
        assert_eq!(shares(&[], None, 4), (vec![], None));
        assert_eq!(shares(&[3], None, 0), (vec![0], None));
        assert_eq!(shares(&[0, 0, 0, 9], None, 2), (vec![0, 0, 0, 2], Some(3)));
    }

    #[test]
    fn p7_isolation_nobody_gets_more_than_its_own_bound() {
        assert_eq!(shares_within(&[50, 50], &[3, 9], None, 8), (vec![3, 5], Some(0)));
        assert_eq!(shares_within(&[50, 50], &[0, 9], None, 8), (vec![0, 8], Some(1)));
        assert_eq!(shares_within(&[50, 50], &[0, 0], Some(0), 8), (vec![0, 0], None));
        assert_eq!(shares_within(&[2, 50, 50], &[9, 1, 2], Some(0), 8), (vec![2, 1, 2], Some(1)));
    }

    #[test]
    fn p7_isolation_nobody_is_always_last() {
        assert_eq!(shares(&[9, 9, 9], None, 1), (vec![1, 0, 0], Some(0)));
        assert_eq!(shares(&[9, 9, 9], Some(0), 1), (vec![0, 1, 0], Some(1)));
        assert_eq!(shares(&[9, 9, 9], Some(1), 4), (vec![1, 1, 2], Some(2)));
        assert_eq!(shares(&[9, 9, 9], Some(2), 2), (vec![1, 1, 0], Some(0)));
    }
}
