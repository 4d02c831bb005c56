//! Every call that can fail, fails: the operating system's (feature `inject`), the driver's, the host backend's; once and for
//! good, at each place of a script that does everything. Each time every byte is right, or the call said what went wrong, or the
//! touch was SIGBUS and a message named the address; what is not ours is as it was; and when the failure is over all of it is
//! right, and the same script runs without an error. Each case is a process of its own, which an alarm ends if it hangs.
//!
//! A sample is run; `HMMRT_TEST_CASES` says how many, or `all`, and `HMMRT_TEST_ONLY` words that a case must have in it (`-WORD`: must not).

#[path = "../common/mod.rs"]
mod common;

mod cases;
#[cfg(feature = "inject")]
mod closed;
mod drivers;
#[cfg(feature = "inject")]
mod os;
#[cfg(feature = "inject")]
mod places;
mod region;
mod room;
mod script;
mod steps;
mod touch;
