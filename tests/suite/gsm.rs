//! The driver of a modem, played from texts: `tests/gsm/*.txt` have the cases, and `tests/gsm/README.md` says how they are written.

mod found;
mod live;
mod play;
mod ports;
mod rules;
mod strangers;

use play::play_file;

macro_rules! cases {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            play_file(concat!(stringify!($name), ".txt"), include_str!(concat!("../gsm/", stringify!($name), ".txt")));
        })*
    };
}

cases! { starting receiving sending recovery watching numbers changing }
