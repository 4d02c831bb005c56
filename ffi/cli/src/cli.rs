//! What can be typed. `hmmrt run` is `run`'s, and so on; the texts are also the manual page's (`pages`).

use crate::size;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use hmmrt::{Backend, FaultEngine, LogLevel};
use std::ffi::OsString;
use std::path::PathBuf;

/// The whole command line.
#[derive(Parser)]
#[command(
    name = "hmmrt",
    version = hmmrt::version(),
    about = "Heterogeneous memory management in user space",
    long_about = "Heterogeneous memory management in user space: memory of unmodified programs lives where it is used, \
        on the CPU or on a device.",
    max_term_width = 100
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub task: Task,
}

/// The subcommands.
#[derive(Subcommand)]
pub enum Task {
    /// Run a program with managed memory, through the preload library
    ///
    /// Large blocks that the program allocates are managed memory then. The program takes the place of this command:
    /// process number, descriptors, signals and exit status are its own. An option sets the HMMRT_ variable that is
    /// named with it; variables that are set already count where there is no option.
    Run(Run),
    /// Show backends, fault engines and limits of this machine
    ///
    /// Says what the settings in the environment choose here, what else there is, why what is missing is missing, and
    /// which limits of the system are in the way. It loads the GPU drivers to find out.
    Info {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Show what a trace says: what moved, when, why, and what it cost
    ///
    /// A trace is what `hmmrt run --trace FILE` or HMMRT_TRACE=FILE leaves: which memory was managed, which touches
    /// faulted, what went to a device and came home, and for which launch.
    Report {
        /// The trace
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,

        /// How many lines tables have at most
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: usize,

        /// As JSON, for programs: times in nanoseconds, sizes in bytes
        #[arg(long)]
        json: bool,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, as it is installed: `hmmrt man | man -l -`
    Man,
}

/// `hmmrt run`.
#[derive(Args)]
#[command(
    override_usage = "hmmrt run [OPTIONS] [--] PROGRAM [ARGS]...",
    after_help = "Exit status: the program's; 127 if there is no such program, 126 if it can't be started, 125 if this \
        command itself fails."
)]
pub struct Run {
    /// Kind of device: the first that works, or one of them [sets HMMRT_BACKEND]
    #[arg(long, value_name = "BACKEND", value_parser = backend())]
    pub backend: Option<Backend>,

    /// How touches of memory that is away are noticed [sets HMMRT_FAULT]
    #[arg(long, value_name = "ENGINE", value_parser = fault())]
    pub fault: Option<FaultEngine>,

    /// Manage blocks of this many bytes and more; K, M, G and T are understood [sets HMMRT_MIN_SIZE]
    #[arg(long, value_name = "SIZE", value_parser = least)]
    pub min_size: Option<String>,

    /// Print what was moved, when each process ends: on standard error, or behind what FILE has; %p is the process number
    /// [sets HMMRT_STATS]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub stats: Option<String>,

    /// Record what happens to managed memory, for `hmmrt report`; %p is the process number [sets HMMRT_TRACE]
    ///
    /// An empty file and an old trace are replaced, nothing else is. Of processes with one name the last has it: with %p
    /// each has its own.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub trace: Option<String>,

    /// Test aid: keep moving managed blocks away and home, at random [sets HMMRT_CHAOS]
    #[arg(long)]
    pub chaos: bool,

    /// What the library writes to standard error [sets HMMRT_LOG]
    #[arg(long, value_name = "LEVEL", value_parser = log())]
    pub log: Option<LogLevel>,

    /// The preload library, where it is not the one beside this command [else HMMRT_PRELOAD_LIBRARY]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub preload: Option<PathBuf>,

    /// Start the program even if nothing can be preloaded into it
    #[arg(long)]
    pub force: bool,

    /// The program, by name (as a shell finds it) or path, and its own arguments
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    #[arg(value_hint = ValueHint::CommandWithArguments)]
    pub program: Vec<OsString>,
}

/// In the order in which they are shown.
const BACKENDS: [Backend; 4] = [Backend::Auto, Backend::Cuda, Backend::Hip, Backend::Host];
const ENGINES: [FaultEngine; 4] =
    [FaultEngine::Auto, FaultEngine::Segv, FaultEngine::Uffd, FaultEngine::UffdThread];
const LEVELS: [LogLevel; 5] =
    [LogLevel::Off, LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];

fn backend() -> impl TypedValueParser<Value = Backend> {
    PossibleValuesParser::new(BACKENDS.map(Backend::name)).try_map(|v| Backend::parse("--backend", &v))
}

fn fault() -> impl TypedValueParser<Value = FaultEngine> {
    PossibleValuesParser::new(ENGINES.map(FaultEngine::name)).try_map(|v| FaultEngine::parse("--fault", &v))
}

fn log() -> impl TypedValueParser<Value = LogLevel> {
    PossibleValuesParser::new(LEVELS.map(LogLevel::name)).try_map(|v| LogLevel::parse("--log", &v))
}

/// Passed on as it was typed.
fn least(text: &str) -> Result<String, &'static str> {
    size::parse(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Cli, Run, Task};
    use clap::{CommandFactory, Parser};

    fn run(args: &[&str]) -> Result<Run, String> {
        match Cli::try_parse_from(["hmmrt", "run"].iter().chain(args)) {
            Ok(Cli { task: Task::Run(run) }) => Ok(run),
            Ok(_) => Err("not run".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn it_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_program_is_the_programs() {
        for args in [
            &["--stats", "ls", "--stats", "-l", "--", "--backend", "x"][..],
            &["--stats", "--", "ls", "--stats", "-l", "--", "--backend", "x"],
        ] {
            let run = run(args).unwrap();
            assert!(run.stats.as_deref() == Some("") && run.backend.is_none());
            assert_eq!(run.program, ["ls", "--stats", "-l", "--", "--backend", "x"]);
        }
        assert_eq!(run(&["--stats=of-%p", "ls"]).unwrap().stats.as_deref(), Some("of-%p"));
        assert_eq!(run(&["--", "--odd-name", "--help"]).unwrap().program, ["--odd-name", "--help"]);
    }

    #[test]
    fn a_wrong_option_is_not_a_program() {
        let error = run(&["--bakend", "cuda", "ls"]).err().unwrap();
        assert!(error.contains("--bakend") && error.contains("--backend"), "{error}");
    }
}
