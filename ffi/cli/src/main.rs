//! The `hmmrt` command: `run` starts a program under the preload library, `info` says what this machine has to offer, and
//! `report` what a trace says.
//!
//! `cli` is what can be typed, `run`, `info` and `report` do it, `pages` makes completions and the manual page; `lookup`, `image`,
//! `privilege` and `obstacle` know programs, `library` the preload library, and `os` has every call to the operating
//! system. One thread, until a backend is probed.
//!
//! The program that is run must find everything as it would without this one. Rust's own start would ignore SIGPIPE and
//! open descriptors 0 to 2, and an exec passes both on: so `main` is the C library's.

#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "the unit tests have an entry of their own"))]

mod cli;
mod failure;
mod image;
mod info;
mod library;
mod lookup;
mod obstacle;
mod os;
mod pages;
mod privilege;
mod report;
mod run;
mod size;

use clap::Parser;
use cli::{Cli, Task};
use failure::Failure;
use std::ffi::c_int;
use std::io::Write;

/// Where the C library starts us, instead of Rust's own start (see above).
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, _: *const *const std::ffi::c_char) -> c_int {
    // Ends like Rust's own main: what is buffered is written.
    std::process::exit(command())
}

/// The whole command; its exit status, unless a program has taken its place.
fn command() -> c_int {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => {
            let _ = said.print();
            // Of `run`, all that is not the program's own status is 125 to 127, as with env, nice and timeout.
            let run = std::env::args_os().nth(1).is_some_and(|task| task == "run");
            return if said.use_stderr() && run { failure::OURS } else { said.exit_code() };
        }
    };
    let text = match cli.task {
        Task::Run(run) => run::run(&run).map(|never| match never {}),
        Task::Info { json } => info::report(json),
        Task::Report { file, top, json } => report::report(&file, top, json),
        Task::Completions { shell } => Ok(pages::completions(shell)),
        Task::Man => pages::man(),
    };
    match text.and_then(|text| print(&text)) {
        Ok(()) => 0,
        Err(failure) => {
            // Nobody to tell if this fails.
            let _ = writeln!(std::io::stderr(), "hmmrt: {failure}");
            failure.status
        }
    }
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text).and_then(|()| out.flush());
    written.map_err(|error| Failure::general(format!("cannot write the output: {error}")))
}
