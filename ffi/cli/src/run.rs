//! `hmmrt run`: sets the variables, puts the preload library in front, and becomes the program. What can be known to be
//! wrong is said before that.

use crate::cli::Run;
use crate::failure::{Failure, NOT_EXECUTABLE};
use crate::{library, lookup, obstacle, os, size};
use hmmrt::{Config, Error, LogLevel, raw, trace};
use std::convert::Infallible;
use std::env;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// Returns only if the program was not started.
pub fn run(args: &Run) -> Result<Infallible, Failure> {
    for (name, value) in variables(args) {
        os::set_variable(name, value.as_ref());
    }
    if let Some(trace) = &args.trace {
        // The program may go to another folder before it is made.
        let path =
            std::path::absolute(trace).map_err(|why| Failure::ours(format!("--trace {trace}: {why}")))?;
        os::set_variable("HMMRT_TRACE", path.as_os_str());
    }
    if let Some(file) = args.stats.as_deref().filter(|file| !file.is_empty()) {
        let path =
            std::path::absolute(file).map_err(|why| Failure::ours(format!("--stats={file}: {why}")))?;
        os::set_variable("HMMRT_STATS", path.as_os_str());
    }
    check_settings(args).map_err(Failure::ours)?;
    // There is one: the parser requires it.
    let name = args.program.first().map_or(OsStr::new(""), |name| name);
    let program = lookup::find(name, env::var_os("PATH").as_deref())?;
    if !args.force
        && let Some(why) = obstacle::of(&program)?
    {
        return Err(Failure::ours(format!("{why}; --force starts it anyway, without managed memory")));
    }
    let library = library::find(args.preload.as_deref()).map_err(Failure::ours)?;
    os::set_variable("LD_PRELOAD", &library::first(&library, env::var_os("LD_PRELOAD").as_deref()));

    let text = |text: &OsStr| {
        CString::new(text.as_bytes()).map_err(|_| Failure::ours("an argument has a NUL".into()))
    };
    let file = text(program.as_os_str())?;
    let mut words = args.program.iter().map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
    let mut error = os::exec(&file, &words);
    if error.raw_os_error() == Some(os::ENOEXEC) && obstacle::is_text(&program) {
        words.splice(..1, [text(obstacle::SHELL.as_ref())?, file]);
        error = os::exec(&words[0].clone(), &words);
    }
    let why = match error.kind() {
        io::ErrorKind::NotFound => "its loader or its interpreter is not there".to_owned(),
        _ => error.to_string(),
    };
    Err(Failure::new(NOT_EXECUTABLE, format!("{}: cannot be started: {why}", program.display())))
}

/// What the options set.
fn variables(args: &Run) -> impl Iterator<Item = (&'static str, &str)> {
    let one = |is_set: bool| is_set.then_some("1");
    [
        ("HMMRT_BACKEND", args.backend.map(|v| v.name())),
        ("HMMRT_FAULT", args.fault.map(|v| v.name())),
        ("HMMRT_MIN_SIZE", args.min_size.as_deref()),
        ("HMMRT_STATS", one(args.stats.as_deref() == Some(""))),
        ("HMMRT_CHAOS", one(args.chaos)),
        ("HMMRT_LOG", args.log.map(|v| v.name())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// What the program's runtime would refuse is refused here.
fn check_settings(args: &Run) -> Result<(), String> {
    let value = |name| env::var_os(name).map(|v| v.to_string_lossy().into_owned()).filter(|v| !v.is_empty());
    if let Some(least) = value("HMMRT_MIN_SIZE") {
        size::parse(&least).map_err(|why| format!("HMMRT_MIN_SIZE: unknown value \"{least}\" ({why})"))?;
    }
    if let Some(chaos) = value("HMMRT_CHAOS").filter(|v| !matches!(&**v, "0" | "1")) {
        return Err(format!("HMMRT_CHAOS: unknown value \"{chaos}\" (expected 0 or 1)"));
    }
    // Started in here, the runtime sees what it will see there. It is quiet, opens no device, and ends with the exec.
    let start = |config| {
        let (trace, stats_file) = (String::new(), String::new());
        raw::init(Some(Config { stats: false, stats_file, log: LogLevel::Off, trace, ..config }))
    };
    if let Some(trace) = value("HMMRT_TRACE") {
        trace::check(&trace).map_err(|why| format!("HMMRT_TRACE={trace}: cannot be made: {why}"))?;
    }
    Config::from_env().and_then(start).map_err(|error| match (error, args.fault) {
        (Error::Unsupported { what: "HMMRT_FAULT", why }, Some(engine)) => {
            format!("--fault {}: not supported ({why})", engine.name())
        }
        (error, _) => error.to_string(),
    })
}
