//! Why the command ends without having done its work: a sentence and an exit status.

use std::fmt;

/// `hmmrt run` itself failed, or would not start the program.
pub const OURS: i32 = 125;
/// The program is there, but can't be started.
pub const NOT_EXECUTABLE: i32 = 126;
/// There is no such program.
pub const NOT_FOUND: i32 = 127;

/// An error, for standard error and the exit status.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub status: i32,
    text: String,
}

impl Failure {
    /// With a status of its own.
    pub fn new(status: i32, text: String) -> Failure {
        Failure { status, text }
    }
    /// Of `hmmrt run`.
    pub fn ours(text: String) -> Failure {
        Failure::new(OURS, text)
    }
    /// Of any other subcommand.
    pub fn general(text: String) -> Failure {
        Failure::new(1, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
