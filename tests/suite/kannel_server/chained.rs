//! A real Kannel in front.
