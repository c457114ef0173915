//! Groups: several backends that send from one queue. Who of them takes a message is decided when it is taken, by who is up, what its caps leave, which
//! numbers it is for, and the balance; never before, so that nothing waits for a modem that was unplugged meanwhile.
//!
//! A group keeps one queue in the store for each choice of members: one for every prefix that any member names, one for all other numbers. A number stands in
//! the queue of its longest prefix, so a member that may send it is found without looking at anything that waits before it. A queue of a prefix that
//! the settings name no more is served by whoever would be chosen for a number that is that prefix: nothing moves when settings change.
//!
//! Order within a connection is the store's: its lanes let one message of a connection out at a time, whoever takes it.

use super::delivery::{Allowance, Desk, NextDue, allowance};
use super::{BackendPolicy, Router};
use crate::message::{Connection, Draft, Name};
use crate::store::{StoreError, Taking};
use crate::time::Timestamp;
use foldhash::{HashMap, HashMapExt as _};
use std::collections::BTreeSet;
use std::time::Duration;

/// Several backends that send from one queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupPolicy {
    /// Its name, by which messages are sent to it. No backend has the same.
    pub name: Name,
    /// Its members.
    pub members: Vec<Member>,
    /// Who of them is next.
    pub balance: Balance,
    /// Whether replies to what came in by a member leave by any of them; else by that one.
    pub replies: bool,
}

/// A backend of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its name.
    pub backend: Name,
    /// The numbers it sends to, by their first digits; a `+` does not matter. None: to all that are not more precisely another's.
    pub prefixes: Vec<String>,
}

/// Who of several members is next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Balance {
    /// One after the other.
    #[default]
    InTurn,
    /// The one that has the fewest messages in hand.
    LeastBusy,
    /// The first that works; the others stand in for it.
    First,
}

/// A group, as the router works with it.
pub(super) struct Group {
    policy: GroupPolicy,
    queues: Vec<Queue>,
    /// Who was given a message last: its place among the members.
    last: Option<usize>,
}

/// One of a group's queues in the store.
struct Queue {
    name: Name,
    /// Who may take from it, by place: those who match best first, each rank by itself.
    ranks: Vec<Vec<usize>>,
    next_due: NextDue,
}

/// The rules for what is sent to a backend or a group.
pub(super) struct Rules<'a> {
    pub(super) tester: bool,
    pub(super) allow_test_traffic: bool,
    pub(super) loop_guard: bool,
    pub(super) validity: Option<Duration>,
    pub(super) parked: Option<&'a str>,
}

/// Who takes from a queue next.
enum Next {
    /// These, each up to so many at once, until one finds something.
    Try(Vec<(usize, usize)>),
    /// Nobody before this time, or before something happens.
    Nobody(Option<Timestamp>),
}

impl Group {
    /// `stored`: the queues that it ever had.
    pub(super) fn new(policy: GroupPolicy, stored: Vec<Name>) -> Group {
        let prefixes = policy.members.iter().flat_map(|member| &member.prefixes);
        let mut names: BTreeSet<Name> =
            prefixes.map(|prefix| queue_name(&policy.name, digits(prefix))).collect();
        names.extend(stored);
        names.insert(policy.name.clone());
        let queues = names.into_iter().map(|name| {
            let prefix = name.strip_prefix(&*policy.name).unwrap_or_default().trim_start_matches('/');
            let mut ranks = ranks(&policy.members, prefix);
            if ranks.is_empty() {
                // What waits there was taken when somebody sent to it.
                ranks.push((0..policy.members.len()).collect());
            }
            Queue { ranks, name, next_due: NextDue::Unknown }
        });
        Group { queues: queues.collect(), policy, last: None }
    }

    fn has(&self, backend: &str) -> bool {
        self.policy.members.iter().any(|member| *member.backend == *backend)
    }

    /// The queue for a number, or why there is none.
    fn queue_for(&self, identity: &str) -> Result<Name, String> {
        let number = digits(identity);
        let prefixes = self.policy.members.iter().flat_map(|member| &member.prefixes);
        let matching = prefixes.map(|prefix| digits(prefix)).filter(|prefix| number.starts_with(prefix));
        match matching.max_by_key(|prefix| prefix.len()) {
            Some(prefix) => Ok(queue_name(&self.policy.name, prefix)),
            None if self.policy.members.iter().any(|member| member.prefixes.is_empty()) => {
                Ok(self.policy.name.clone())
            }
            None => Err(format!("no member of group {} sends to this number", self.policy.name)),
        }
    }

    /// When each of its queues is to be looked at.
    pub(super) fn due(&self) -> impl Iterator<Item = NextDue> {
        self.queues.iter().map(|queue| queue.next_due)
    }

    fn look_again(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.next_due = NextDue::Unknown);
    }
}

impl Router {
    /// Begins to work by the groups of the policy.
    pub(super) fn set_groups(&mut self) {
        let mut groups = HashMap::new();
        for policy in &self.policy.groups {
            // A store in trouble is asked again when it is well: what is not known here waits until then.
            let stored = self.store.queues(&policy.name).unwrap_or_default();
            groups.insert(policy.name.clone(), Group::new(policy.clone(), stored));
        }
        self.groups = groups;
    }

    /// Something may have become due, or somebody may take what is.
    pub(super) fn look_everywhere(&mut self) {
        self.desks.values_mut().for_each(Desk::look_again);
        self.look_at_groups();
    }

    pub(super) fn look_at_groups(&mut self) {
        self.groups.values_mut().for_each(Group::look_again);
    }

    /// A message was queued there.
    pub(super) fn look_at(&mut self, connection: &Connection, queue: Option<&Name>) {
        if let Some(desk) = self.desks.get_mut(&connection.backend) {
            desk.look_again();
        } else if let Some(group) = self.groups.get_mut(&connection.backend) {
            let stands_in = queue.unwrap_or(&connection.backend);
            group
                .queues
                .iter_mut()
                .filter(|queue| queue.name == *stands_in)
                .for_each(|queue| queue.next_due = NextDue::Unknown);
        }
    }

    /// The rules for what is sent to a backend or a group, if there is one of that name.
    pub(super) fn rules(&self, name: &str) -> Option<Rules<'_>> {
        let of_one = |policy: &BackendPolicy| Rules {
            tester: policy.tester,
            allow_test_traffic: policy.tester || policy.allow_test_traffic,
            loop_guard: policy.loop_guard,
            validity: policy.validity,
            parked: None,
        };
        if let Some(desk) = self.desks.get(name) {
            return Some(Rules { parked: desk.parked.as_deref(), ..of_one(&desk.policy) });
        }
        let group = self.groups.get(name)?;
        let members = group.policy.members.iter().filter_map(|member| self.desks.get(&member.backend));
        let rules = members.map(|desk| of_one(&desk.policy)).reduce(|one, other| Rules {
            tester: one.tester && other.tester,
            allow_test_traffic: one.allow_test_traffic && other.allow_test_traffic,
            loop_guard: one.loop_guard || other.loop_guard,
            validity: one.validity.max(other.validity),
            parked: None,
        });
        Some(rules.unwrap_or_else(|| of_one(&BackendPolicy::real())))
    }

    /// In which queue a message stands, if not in its backend's own; or why nobody sends it.
    pub(super) fn queue_for(&self, connection: &Connection) -> Result<Option<Name>, String> {
        let queue = self.groups.get(&connection.backend).map(|group| group.queue_for(&connection.identity));
        Ok(queue.transpose()?.filter(|queue| *queue != connection.backend))
    }

    /// Where a reply goes that would leave by the line on which its question came in: there, unless a group takes replies.
    pub(super) fn send_reply_to_group(&self, draft: &mut Draft, came_in: &Connection) -> bool {
        if draft.connection != *came_in || draft.in_response_to.is_none() {
            return false;
        }
        let takes = |group: &&Group| group.policy.replies && group.has(&came_in.backend);
        let group = self.policy.groups.iter().filter_map(|policy| self.groups.get(&policy.name)).find(takes);
        if let Some(group) = group {
            draft.connection.backend = group.policy.name.clone();
        }
        group.is_some()
    }

    /// Whether another member of its group can take a message that one just failed at.
    pub(super) fn another_can(&self, group: &str, tried: &str, attempt: u32) -> bool {
        let Some(group) = self.groups.get(group) else { return false };
        let others = group.policy.members.iter().filter(|member| *member.backend != *tried);
        let able = others
            .filter(|member| self.desks.get(&member.backend).is_some_and(|desk| desk.is_able()))
            .count();
        usize::try_from(attempt).is_ok_and(|attempt| attempt <= able)
    }

    /// Gives the members of each group what is due in its queues.
    pub(super) fn take_for_groups(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let due = |queue: &Queue| match queue.next_due {
            NextDue::Unknown => true,
            NextDue::At(at) => at <= now,
            NextDue::Never => false,
        };
        let names: Vec<Name> = self.policy.groups.iter().map(|policy| policy.name.clone()).collect();
        for name in names {
            let Some(mut group) = self.groups.remove(&name) else { continue };
            let mut served = Ok(());
            for place in 0..group.queues.len() {
                if served.is_ok() && due(&group.queues[place]) {
                    served = self.serve(&mut group, place, now);
                }
            }
            self.groups.insert(name, group);
            served?;
        }
        Ok(())
    }

    /// Empties one queue as far as members take from it.
    fn serve(&mut self, group: &mut Group, place: usize, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let takers = match self.next_taker(group, place, now)? {
                Next::Try(takers) => takers,
                Next::Nobody(until) => {
                    group.queues[place].next_due = until.map_or(NextDue::Never, NextDue::At);
                    return Ok(());
                }
            };
            let queue = &mut group.queues[place];
            let able = queue.ranks.iter().flatten().filter(|&&member| {
                let backend = &group.policy.members[member].backend;
                self.desks.get(backend).is_some_and(|desk| desk.is_able())
            });
            // Who failed at a message leaves it to others, if there are any.
            let again = able.count() < 2;
            let mut found = false;
            for (member, most) in takers {
                let by = group.policy.members[member].backend.clone();
                let taking = Taking { queue: &queue.name, by: &by, again };
                let taken = self.store.take(&taking, most, now)?;
                if !taken.is_empty() {
                    found = true;
                    group.last = Some(member);
                    self.give(&by, taken, now);
                    if let Some(desk) = self.desks.get_mut(&by) {
                        desk.groups_first = false;
                    }
                    break;
                }
            }
            if !found {
                // What is due already waits for somebody who is busy now.
                let next = self.store.next_due(&queue.name)?.filter(|&next| next > now);
                queue.next_due = next.map_or(NextDue::Never, NextDue::At);
                return Ok(());
            }
        }
    }

    /// Who may take from a queue now, the best first.
    fn next_taker(&mut self, group: &Group, place: usize, now: Timestamp) -> Result<Next, StoreError> {
        let mut takers = Vec::new();
        let mut until: Option<Timestamp> = None;
        for rank in &group.queues[place].ranks {
            let mut able = Vec::new();
            for &member in rank {
                let name = &group.policy.members[member].backend;
                let Some(desk) = self.desks.get_mut(name).filter(|desk| desk.is_up()) else { continue };
                let Allowance { free, until: over } = allowance(&mut *self.store, name, desk, now)?;
                until = until.into_iter().chain(over).min();
                if desk.is_able() {
                    able.push((member, free, desk.in_flight));
                }
            }
            if able.is_empty() {
                continue;
            }
            let after_last = |member: usize| (group.last.is_some_and(|last| member <= last), member);
            match group.policy.balance {
                Balance::InTurn => able.sort_by_key(|&(member, ..)| after_last(member)),
                Balance::LeastBusy => {
                    able.sort_by_key(|&(member, _, in_flight)| (in_flight, after_last(member)));
                }
                Balance::First => {}
            }
            let alone = able.len() == 1 || group.policy.balance == Balance::First;
            let waits_for_first = group.policy.balance == Balance::First && able[0].1 == 0;
            if waits_for_first || able.iter().all(|&(_, free, _)| free == 0) {
                // They work, so what is theirs waits for them; what they left to others is the others' only once they had their choice.
                break;
            }
            let with_room = able.into_iter().filter(|&(_, free, _)| free > 0);
            takers.extend(with_room.map(|(member, free, _)| (member, if alone { free } else { 1 })));
        }
        Ok(if takers.is_empty() { Next::Nobody(until) } else { Next::Try(takers) })
    }
}

/// The members that send to numbers of this prefix, those whose own prefixes are longest first.
fn ranks(members: &[Member], prefix: &str) -> Vec<Vec<usize>> {
    let mut ranked: Vec<(usize, usize)> = Vec::new();
    for (place, member) in members.iter().enumerate() {
        let own = member.prefixes.iter().map(|own| digits(own)).filter(|own| prefix.starts_with(own));
        let longest = own.map(str::len).max().or(member.prefixes.is_empty().then_some(0));
        ranked.extend(longest.map(|length| (length, place)));
    }
    let lengths: BTreeSet<usize> = ranked.iter().map(|(length, _)| *length).collect();
    let rank = |length: usize| {
        ranked.iter().filter(|(other, _)| *other == length).map(|(_, place)| *place).collect()
    };
    lengths.into_iter().rev().map(rank).collect()
}

fn queue_name(group: &str, prefix: &str) -> Name {
    if prefix.is_empty() { group.into() } else { [group, "/", prefix].concat().into() }
}

fn digits(number: &str) -> &str {
    number.trim_start_matches('+')
}
