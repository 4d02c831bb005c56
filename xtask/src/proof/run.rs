//! One run of a workload: its folder, its environment, what it printed, how it ended, what it left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::processes;
use super::workload::Workload;
use crate::command::{Command, ended};
use crate::course::without_settings;
use crate::workspace::Workspace;

/// What a workload is run with.
pub enum Setting<'a> {
    /// Without the library.
    Plain,
    /// With the library and a thread that keeps moving blocks of this size and more.
    Chaos {
        /// `HMMRT_MIN_SIZE`.
        min_size: &'a str,
    },
    /// With the library as it comes, no setting changed.
    Default,
}

impl Setting<'_> {
    fn name(&self) -> &str {
        match self {
            Setting::Plain => "plain",
            Setting::Chaos { min_size } => min_size,
            Setting::Default => "default",
        }
    }
}

/// Runs workloads below one folder.
pub struct Runner {
    /// `proof` in the target folder: for each workload what is prepared, and a folder for each run.
    pub dir: PathBuf,
    inputs: PathBuf,
    driver: PathBuf,
    library: PathBuf,
    size: &'static str,
}

/// What is known of a run that is over.
pub struct Ran {
    /// Where it ran; `out` in it is compared.
    pub dir: PathBuf,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error, in which the library's statistics are.
    pub stderr: String,
    /// Its exit status; none: it was killed.
    pub code: Option<i32>,
    /// The same in words.
    pub ended: String,
    /// How long it took, with all around the programs.
    pub seconds: f64,
    /// Wall, user and system seconds of the programs alone.
    pub times: [f64; 3],
    /// How many processes it left behind, which were ended.
    pub left: usize,
}

impl Runner {
    /// For this repository, with this library or the one that was built; `size` is what the workloads look at.
    pub fn new(workspace: &Workspace, library: Option<&Path>, size: &'static str) -> Runner {
        let dir = workspace.target.join("proof");
        Runner {
            inputs: dir.join("inputs"),
            driver: workspace.root.join("proof/driver.sh"),
            library: library
                .map_or_else(|| workspace.release().join("libhmmrt_preload.so"), Path::to_path_buf),
            dir: dir.join("runs"),
            size,
        }
    }

    /// The library that is preloaded.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Makes what a workload needs, once. Some text: it can't be run here, and why.
    pub fn prepare(&self, w: &Workload) -> Result<Option<String>> {
        let input = self.inputs.join(&w.name);
        fs::create_dir_all(&input)?;
        let dir = self.dir.join(&w.name).join("prepare");
        let ran = self.part(w, "prepare", &Setting::Plain, dir)?;
        match ran.code {
            Some(0) => Ok(None),
            Some(77) => Ok(Some(ran.stdout.lines().last().unwrap_or_default().replace("skip: ", ""))),
            _ => Err(anyhow::anyhow!("{}: prepare {}\n{}", w.name, ran.ended, ran.stderr)),
        }
    }

    /// Runs its work in a new folder.
    pub fn run(&self, w: &Workload, setting: &Setting) -> Result<Ran> {
        self.part(w, "work", setting, self.dir.join(&w.name).join(setting.name()))
    }

    fn part(&self, w: &Workload, part: &str, setting: &Setting, dir: PathBuf) -> Result<Ran> {
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(dir.display().to_string());
            }
            _ => {}
        }
        // Programs run in a folder below it, so that they do not see these files.
        let inside = dir.join("in");
        fs::create_dir_all(&inside)?;
        let mark = dir.display().to_string();
        // What a run before left that was interrupted would write into the same folder.
        processes::end_all(&mark);
        let mut command = without_settings(Command::new("bash"))
            .args([self.driver.as_os_str(), w.name.as_ref(), part.as_ref()])
            .dir(&inside)
            .env("PROOF_INPUT", self.inputs.join(&w.name))
            .env("PROOF_TIMES", dir.join("times"))
            .env("PROOF_SIZE", self.size)
            .env("PROOF_LIBRARY", "")
            .env(processes::MARK, &mark)
            .limit(w.limit);
        match setting {
            Setting::Plain => {}
            Setting::Chaos { min_size } => {
                command = command
                    .env("PROOF_LIBRARY", &self.library)
                    .env("HMMRT_BACKEND", "host")
                    .env("HMMRT_CHAOS", "1")
                    .env("HMMRT_STATS", "1")
                    .env("HMMRT_MIN_SIZE", *min_size);
            }
            Setting::Default => command = command.env("PROOF_LIBRARY", &self.library),
        }
        let start = Instant::now();
        let outcome = command.capture();
        let seconds = start.elapsed().as_secs_f64();
        let left = processes::end_all(&mark);
        let mut ran = Ran {
            stdout: String::new(),
            stderr: String::new(),
            code: None,
            ended: String::new(),
            seconds,
            times: times(&dir.join("times")),
            left,
            dir,
        };
        match outcome {
            Ok(output) => {
                ran.code = output.status.code();
                ran.ended = ended(output.status);
                (ran.stdout, ran.stderr) = (output.stdout, output.stderr);
            }
            // It was late.
            Err(error) => ran.ended = format!("{error:#}"),
        }
        fs::write(ran.dir.join("stdout"), &ran.stdout)?;
        fs::write(ran.dir.join("stderr"), &ran.stderr)?;
        Ok(ran)
    }
}

impl Ran {
    /// How many moves to a device the statistics of all its processes tell of. None: there are no statistics, because its
    /// programs close standard error before they end.
    pub fn moves(&self) -> Option<u64> {
        let moves = |line: &str| {
            let (_, rest) = line.split_once("  to the device ")?;
            rest.trim_end().strip_suffix(" moves")?.rsplit(' ').next()?.parse::<u64>().ok()
        };
        self.stderr.lines().filter_map(moves).fold(None, |sum, n| Some(sum.unwrap_or(0) + n))
    }

    /// What the library had to say that is not a statistic, each once.
    pub fn complaints(&self) -> Vec<String> {
        let said = |line: &&str| line.starts_with("hmmrt error") || line.starts_with("hmmrt:");
        let mut lines: Vec<String> = self.stderr.lines().filter(said).map(str::to_owned).collect();
        lines.sort();
        lines.dedup();
        lines
    }
}

/// The sums of the columns of a file of times.
fn times(file: &Path) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        for (sum, value) in sums.iter_mut().zip(line.split(' ')) {
            *sum += value.parse::<f64>().unwrap_or(0.0);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::Ran;

    #[test]
    fn moves_of_all_processes_are_added_up() {
        let stderr = "hmmrt statistics\n  to the device      1.7 MiB in 43 moves\nx\n  to the device      0.0 MiB in 0 moves\n\
                      \x20 to the device      9.0 MiB in 7 moves\n  to the host        2.4 MiB in 30 moves\n";
        let mut ran = Ran {
            dir: "/".into(),
            stdout: String::new(),
            stderr: format!("{stderr}hmmrt error: one\nhmmrt error: one\n"),
            code: Some(0),
            ended: String::new(),
            seconds: 0.0,
            times: [0.0; 3],
            left: 0,
        };
        assert_eq!(ran.moves(), Some(50));
        assert_eq!(ran.complaints(), ["hmmrt error: one"]);
        ran.stderr = "x\n".to_owned();
        assert_eq!(ran.moves(), None);
    }
}
