//! The gsm engine under everything, for long: a day of bad luck in a second, eight modems of which four are ill, a router that is killed
//! again and again, and modems that mean harm. The simulator's ledger is the judge ([`books`]): it outlives whatever it judges.
//!
//! Every run is another one; it prints how to repeat it. `RAPIDSMS_TEST_EFFORT` makes it last longer.

mod bench;
mod books;
mod day;
mod deaths;
mod eight;
mod hostile;
