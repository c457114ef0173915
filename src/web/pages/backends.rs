//! The backends: a card each, which says in sentences how it is and what to do about it.

use super::{Frame, filters, html};
use crate::http::Response;
use crate::hub::board::{BackendNotice, BackendState, Board, GroupNotice};
use crate::message::{Direction, State};
use crate::store::{Count, Reader, StoreError};
use crate::time::Timestamp;
use askama::Template;

/// What waits for a backend or a group.
#[derive(Default)]
struct Queue {
    /// Messages to be sent, those in its hands included.
    out: u64,
    /// When the oldest of them was accepted.
    oldest: Option<Timestamp>,
    /// Messages that wait for a person.
    held: u64,
    /// Messages that the apps have not finished with.
    received: u64,
}

impl Queue {
    fn of(name: &str, counts: &[Count], reader: &mut dyn Reader) -> Result<Queue, StoreError> {
        let mut queue = Queue::default();
        for count in counts.iter().filter(|count| *count.backend == *name) {
            match (count.direction, count.state) {
                (Direction::Out, State::Held) => queue.held += count.count,
                (Direction::Out, state) if state.is_open() => queue.out += count.count,
                (Direction::In, State::Received) => queue.received += count.count,
                _ => {}
            }
        }
        if queue.out > 0 {
            queue.oldest = reader.oldest_waiting(name)?;
        }
        Ok(queue)
    }
}

struct Card {
    notice: BackendNotice,
    queue: Queue,
    /// Parts of longer messages that wait for the others.
    pieces: u64,
}

impl Card {
    /// How it looks.
    fn tone(&self) -> &'static str {
        match self.notice.state {
            BackendState::Up if self.notice.capped.is_some() => "bad",
            BackendState::Up => "good",
            BackendState::Starting => "wait",
            BackendState::Down | BackendState::Parked => "bad",
        }
    }

    /// What a person should do; empty for nothing.
    fn remedy(&self) -> &'static str {
        match self.notice.state {
            BackendState::Up if self.notice.capped.is_some() => {
                "Nothing is lost: what waits goes out when the cap's period ends. To send sooner, raise the cap in the settings and reload."
            }
            BackendState::Up => "",
            BackendState::Starting => {
                "It is not ready yet, and its messages wait. If it stays so, do what the sentence says."
            }
            BackendState::Down => {
                "It is tried again by itself, at most a minute apart, and its messages wait. If it stays so, look at what the sentence names: device, cable, network, login."
            }
            BackendState::Parked => {
                "It waits for you: mend what the sentence says, then reload the settings (SIGHUP) or restart. New messages for it are held."
            }
        }
    }
}

struct Group {
    notice: GroupNotice,
    queue: Queue,
}

#[derive(Template)]
#[template(path = "backends.html")]
struct Backends {
    frame: Frame,
    now: Timestamp,
    cards: Vec<Card>,
    groups: Vec<Group>,
}

/// `/backends/`
pub(super) fn page(now: Timestamp, board: &Board, reader: &mut dyn Reader) -> Result<Response, StoreError> {
    let (notices, groups) = {
        let notices = board.lock();
        (notices.in_order(), notices.groups.clone())
    };
    let counts = reader.tally()?;
    let pieces = reader.pieces()?;
    let mut cards = Vec::with_capacity(notices.len());
    for notice in notices {
        let own = pieces.iter().find(|(name, _)| *name == notice.name);
        let pieces = own.map_or(0, |(_, count)| *count);
        cards.push(Card { queue: Queue::of(&notice.name, &counts, reader)?, pieces, notice });
    }
    let mut queues = Vec::with_capacity(groups.len());
    for notice in groups {
        queues.push(Group { queue: Queue::of(&notice.name, &counts, reader)?, notice });
    }
    Ok(html(&Backends { frame: Frame::of(board, "/backends/"), now, cards, groups: queues }))
}
