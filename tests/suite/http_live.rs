//! The http engine in the real daemon.
