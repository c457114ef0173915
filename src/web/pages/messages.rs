//! The message log: newest first, with filters that the store answers from an index, and pages that stay what they are while messages arrive.
//!
//! A part of a text is in no index. Such a search looks through [`SEARCHED`] messages at a time, within the other filters, and says how far it came.

use super::{Frame, filters, html};
use crate::http::{Request, Response, form};
use crate::hub::board::Board;
use crate::message::{Direction, MessageId, State};
use crate::store::{Query, Reader, Row, StoreError};
use crate::time::Timestamp;
use askama::Template;
use std::collections::BTreeSet;
use std::time::Duration;

/// So many messages stand on a page.
const LISTED: usize = 50;
/// So many messages are looked through for a text before there is a page.
const SEARCHED: usize = 5_000;
/// So many of them are read at once.
const GULP: usize = 500;

/// What is wanted, as a person says it: an empty field is no condition.
#[derive(Clone, Default)]
pub(super) struct Filter {
    pub(super) identity: String,
    pub(super) text: String,
    pub(super) backend: String,
    pub(super) direction: Option<Direction>,
    pub(super) state: Option<State>,
    /// The last day wanted, `2026-11-22`, in UTC.
    pub(super) until: String,
    /// Where the page before ended.
    pub(super) after: Option<MessageId>,
}

impl Filter {
    /// Reads the fields of the form. `Err` is a sentence for the person.
    pub(super) fn of(request: &Request) -> Result<Filter, String> {
        let mut filter = Filter::default();
        for (name, value) in form::pairs(request.query().as_bytes())? {
            let value = value.trim();
            let wrong = |what: &str| format!("\"{}\" is no {what}", filters::visible(value));
            match name.as_str() {
                _ if value.is_empty() => {}
                "identity" => filter.identity = value.to_string(),
                "text" => filter.text = value.to_string(),
                "backend" => filter.backend = value.to_string(),
                "direction" => {
                    filter.direction = Some(value.parse().map_err(|()| wrong("direction: in or out"))?);
                }
                "state" => filter.state = Some(value.parse().map_err(|()| wrong("state of a message"))?),
                "until" => {
                    midnight_after(value).ok_or_else(|| wrong("day; write it as 2026-11-22"))?;
                    filter.until = value.to_string();
                }
                "after" => filter.after = Some(value.parse().map_err(|()| wrong("message"))?),
                _ => return Err(format!("there is no field \"{}\" here", filters::visible(&name))),
            }
        }
        Ok(filter)
    }

    /// The same as the store is asked; the text is not among it.
    pub(super) fn query(&self) -> Query {
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        // Ids begin with their time, so a day is a place among them.
        let day = midnight_after(&self.until).and_then(|end| {
            let key = i64::try_from(end.milliseconds()).ok()?.checked_mul(1 << 12)?;
            Some(MessageId::from_parts(key, 0))
        });
        Query {
            backend: given(&self.backend),
            identity: given(&self.identity),
            direction: self.direction,
            state: self.state,
            after: self.after.or(day),
            ..Query::default()
        }
    }

    /// Whether a message has the text in it, in whatever capitals.
    pub(super) fn test(&self) -> impl Fn(&Row) -> bool + use<> {
        let text = self.text.to_lowercase();
        move |row| text.is_empty() || row.text.to_lowercase().contains(&text)
    }

    fn is_direction(&self, word: &str) -> bool {
        self.direction.is_some_and(|direction| direction.as_str() == word)
    }

    /// Whether nothing is asked for in particular.
    fn is_open(&self) -> bool {
        self.address("", None).is_empty()
    }

    /// An address with this filter, going on after a message.
    fn address(&self, page: &str, after: Option<MessageId>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        for (name, value) in [
            ("identity", self.identity.as_str()),
            ("text", &self.text),
            ("backend", &self.backend),
            ("direction", self.direction.map_or("", Direction::as_str)),
            ("state", self.state.map_or("", State::as_str)),
            ("until", &self.until),
            ("after", &after),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        match query.finish() {
            query if query.is_empty() => page.to_string(),
            query => format!("{page}?{query}"),
        }
    }
}

/// The end of a day.
fn midnight_after(day: &str) -> Option<Timestamp> {
    let is_day = day.len() == 10 && day.bytes().all(|octet| octet.is_ascii_digit() || octet == b'-');
    let begin = Timestamp::parse(&format!("{day}T00:00:00Z")).filter(|_| is_day)?;
    Some(begin + Duration::from_secs(24 * 3600))
}

/// What a page shows.
#[derive(Default)]
struct Listing {
    rows: Vec<Row>,
    /// Where the next page begins.
    next: Option<MessageId>,
    /// How far a search for a text came when it had looked through enough.
    reached: Option<Timestamp>,
}

impl Listing {
    fn of(filter: &Filter, reader: &mut dyn Reader) -> Result<Listing, StoreError> {
        let mut query = filter.query();
        if filter.text.is_empty() {
            query.limit = LISTED;
            let page = reader.messages(&query)?;
            return Ok(Listing { rows: page.messages, next: page.next, reached: None });
        }
        query.limit = GULP;
        let fits = filter.test();
        let mut listing = Listing::default();
        let mut searched = 0;
        loop {
            let page = reader.messages(&query)?;
            searched += page.messages.len();
            let mut rows = page.messages.into_iter();
            while let Some(row) = rows.next() {
                let (id, at) = (row.id, row.created_at);
                if fits(&row) {
                    listing.rows.push(row);
                }
                let is_last = rows.as_slice().is_empty();
                let full = listing.rows.len() == LISTED;
                if full || (is_last && searched >= SEARCHED) {
                    listing.next = Some(id).filter(|_| !is_last || page.next.is_some());
                    listing.reached = Some(at).filter(|_| !full && listing.next.is_some());
                    return Ok(listing);
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(listing),
            }
        }
    }
}

#[derive(Template)]
#[template(path = "messages.html")]
struct Messages {
    frame: Frame,
    filter: Filter,
    trouble: String,
    backends: BTreeSet<String>,
    states: [State; 13],
    listing: Listing,
    newest: String,
    older: Option<String>,
    export: String,
}

/// `/messages/`
pub(super) fn page(
    request: &Request,
    board: &Board,
    reader: &mut dyn Reader,
) -> Result<Response, StoreError> {
    let (filter, trouble) = match Filter::of(request) {
        Ok(filter) => (filter, String::new()),
        Err(sentence) => (Filter::default(), sentence),
    };
    let listing = if trouble.is_empty() { Listing::of(&filter, reader)? } else { Listing::default() };
    let status = if trouble.is_empty() { 200 } else { 400 };
    // Backends that left the settings keep their messages.
    let mut backends: BTreeSet<String> =
        reader.tally()?.into_iter().map(|count| count.backend.to_string()).collect();
    {
        let notices = board.lock();
        backends.extend(notices.backends.keys().map(ToString::to_string));
        backends.extend(notices.groups.iter().map(|group| group.name.to_string()));
    }
    backends.extend(Some(filter.backend.clone()).filter(|name| !name.is_empty()));
    Ok(html(&Messages {
        frame: Frame::of(board, "/messages/"),
        newest: filter.address("/messages/", None),
        older: listing.next.map(|next| filter.address("/messages/", Some(next))),
        export: filter.address("/messages/export.csv", filter.after),
        filter,
        trouble,
        backends,
        states: State::ALL,
        listing,
    })
    .with_status(status))
}

#[cfg(test)]
mod tests {
    use super::super::rehearsal::Haystack;
    use super::*;

    fn filter(query: &str) -> Result<Filter, String> {
        let request = format!("GET /messages/?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        Filter::of(&Request::parse(request.as_bytes(), None).expect("a request"))
    }

    #[test]
    fn a_filter_is_kept_in_addresses() {
        for query in [
            "",
            "identity=%2B254+700",
            "text=50%25+%26+%3Cb%3E&backend=a%2Fb&direction=in&state=received&until=2026-11-22",
        ] {
            let address = filter(query).expect("a filter").address("/messages/", None);
            let expected = if query.is_empty() { String::new() } else { format!("?{query}") };
            assert_eq!(address, format!("/messages/{expected}"));
        }
        assert!(filter("identity=&state=&text=++").expect("empty fields").is_open());
    }

    #[test]
    fn a_day_is_a_place_among_ids() {
        let day = filter("until=2026-11-22").expect("a day").query().after.expect("a place");
        assert_eq!(day.time(), Timestamp::parse("2026-11-23T00:00:00Z").expect("a time"));
        for wrong in
            ["until=yesterday", "until=2026-13-01", "until=%2B02026-1-1", "state=lost", "after=1", "x=1"]
        {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_is_looked_for_piece_by_piece_and_found_everywhere() {
        let mut filter = filter("text=needle").expect("a filter");
        let mut reader = Haystack::of(12_345);
        let mut found = Vec::new();
        for pages in 1.. {
            let before = reader.read;
            let listing = Listing::of(&filter, &mut reader).expect("a page");
            assert!(reader.read - before <= SEARCHED, "a page looks through no more than that");
            found.extend(listing.rows.iter().map(|row| row.id.key()));
            assert_eq!(listing.reached.is_some(), listing.next.is_some(), "it says how far it came");
            match listing.next {
                Some(next) => filter.after = Some(next),
                None => {
                    assert_eq!(pages, 3);
                    break;
                }
            }
        }
        assert_eq!(found, (0..=12).rev().map(|thousand| thousand * 1_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_page_of_findings_goes_on_behind_the_last() {
        let mut filter = filter("text=hay").expect("a filter");
        let mut reader = Haystack::of(120);
        let mut found = Vec::new();
        while let Some(next) = {
            let listing = Listing::of(&filter, &mut reader).expect("a page");
            assert!(listing.rows.len() <= LISTED && listing.reached.is_none());
            found.extend(listing.rows.iter().map(|row| row.id.key()));
            listing.next
        } {
            filter.after = Some(next);
        }
        assert_eq!(found, (1..120).rev().collect::<Vec<_>>());
    }
}
