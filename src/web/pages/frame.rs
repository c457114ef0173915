//! What stands around every page: where one can go, and whether all is well.

use crate::hub::board::{Board, Health};

/// Every page that people go to by itself, with its name.
const PLACES: [Place; 5] = [
    Place { address: "/", name: "Overview" },
    Place { address: "/httptester/", name: "Message Tester" },
    Place { address: "/messages/", name: "Messages" },
    Place { address: "/backends/", name: "Backends" },
    Place { address: "/parts", name: "Part counter" },
];

/// Where one can go.
pub(in crate::web) struct Place {
    pub(in crate::web) address: &'static str,
    pub(in crate::web) name: &'static str,
}

/// What stands around a page.
pub(in crate::web) struct Frame {
    /// Where this page belongs among the places; empty for none.
    pub(in crate::web) here: &'static str,
    /// Whether all is well.
    pub(in crate::web) health: Health,
}

impl Frame {
    /// The frame of a page that belongs to the place of this address.
    pub(in crate::web) fn of(board: &Board, here: &'static str) -> Frame {
        Frame { here, health: board.lock().health() }
    }

    /// Where one can go.
    pub(in crate::web) fn places(&self) -> &'static [Place] {
        &PLACES
    }

    /// How it is, in a word or two.
    pub(in crate::web) fn verdict(&self) -> &'static str {
        match self.health.status {
            "ok" => "The router works",
            "degraded" => "Something needs attention",
            _ => "Nothing is accepted",
        }
    }
}
