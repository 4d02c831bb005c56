//! `cargo xtask proof --overhead`: what the library costs a program while nobody uses a device. Each workload runs with the
//! library as it comes and without, alternating, and so does the start of a program that does nothing. Times are the
//! programs' own, as the shell's `time` says them. Writes a table, and everything measured as JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::compare;
use super::run::{Runner, Setting};
use super::workload::Workload;
use crate::command;
use crate::workspace::Workspace;

/// How often the empty program is started each way.
const STARTS: usize = 300;

/// Seconds of each run.
#[derive(Default)]
struct Series {
    wall: Vec<f64>,
    processor: Vec<f64>,
}

/// Measures `workloads`, each `runs` times both ways.
pub fn run(workspace: &Workspace, library: Option<&Path>, workloads: &[Workload], runs: usize) -> Result<()> {
    ensure!(runs > 0, "at least one run");
    let runner = Runner::new(workspace, library, "overhead");
    println!("{}\n", machine().join(" | "));
    println!(
        "medians of {runs} runs each way, alternating; [10th .. 90th percentile] of the ratios of neighbouring runs\n"
    );
    println!("{:18} {:>21}  {:>21}", "", "wall", "user + system");
    let mut rows = Vec::new();
    for w in workloads {
        if let Some(program) = w.needs.iter().find(|p| !command::installed(p)) {
            println!("{:18} skipped: no {program}; it comes from: {}", w.name, w.packages);
            continue;
        }
        if let Some(why) = runner.prepare(w)? {
            println!("{:18} skipped: {why}", w.name);
            continue;
        }
        let (mut plain, mut with) = (Series::default(), Series::default());
        // Caches are warm after the first pair, which is not counted.
        for round in 0..=runs {
            // Who goes first changes: what follows a run is not always the same either.
            let settings = [Setting::Plain, Setting::Default];
            let mut outcomes = [None, None];
            for i in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                outcomes[i] = Some(runner.run(w, &settings[i])?);
            }
            let [Some(a), Some(b)] = outcomes else { bail!("no outcome") };
            if let Some(how) = compare::difference(&a, &b) {
                bail!("{}: not the same with the library as it comes: {how}", w.name);
            }
            if round > 0 {
                plain.push(a.times);
                with.push(b.times);
            }
        }
        fs::remove_dir_all(runner.dir.join(&w.name)).ok();
        println!(
            "{:18} {}  {}",
            w.name,
            cell(&plain.wall, &with.wall),
            cell(&plain.processor, &with.processor)
        );
        rows.push(json!({
            "workload": w.name, "what": w.what,
            "wall_s": { "plain": plain.wall, "with": with.wall, "ratio": ratio(&plain.wall, &with.wall) },
            "user_and_system_s": {
                "plain": plain.processor, "with": with.processor, "ratio": ratio(&plain.processor, &with.processor) },
        }));
    }
    let start = start_up(runner.library())?;
    let ms = |values: &[f64]| median(values) * 1e3;
    println!(
        "\nstart and end of a program that does nothing: {:.3} ms plain, {:.3} ms with it: {:+.3} ms",
        ms(&start.0),
        ms(&start.1),
        ms(&start.1) - ms(&start.0)
    );
    let quiet = quiet(runner.library())?;
    println!("after 64 large blocks: {quiet}");
    let all = json!({
        "machine": machine(), "runs": runs, "rows": rows, "quiet": quiet,
        "start_up_s": { "plain": median(&start.0), "with": median(&start.1), "starts": STARTS },
    });
    let file = write(workspace, &all)?;
    println!("all of it: {}", workspace.shown(&file));
    Ok(())
}

impl Series {
    fn push(&mut self, [wall, user, system]: [f64; 3]) {
        self.wall.push(wall);
        self.processor.push(user + system);
    }
}

fn cell(plain: &[f64], with: &[f64]) -> String {
    let mut ratios: Vec<f64> = plain.iter().zip(with).map(|(a, b)| b / a).collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
    format!(
        "{:6.2} s {:6.2} s {:+5.1} % [{:+.1} .. {:+.1}]",
        median(plain),
        median(with),
        (ratio(plain, with) - 1.0) * 100.0,
        (at(0.1) - 1.0) * 100.0,
        (at(0.9) - 1.0) * 100.0
    )
}

fn ratio(plain: &[f64], with: &[f64]) -> f64 {
    median(with) / median(plain)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Seconds of each start of `true`, from before fork until it was waited for: plain, and with the library.
fn start_up(library: &Path) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut plain, mut with) = (Vec::new(), Vec::new());
    for round in 0..2 * STARTS {
        let mut command = Command::new("/bin/true");
        if round % 2 == 1 {
            command.env("LD_PRELOAD", library);
        }
        let start = Instant::now();
        let status = command.status().context("/bin/true")?;
        let seconds = start.elapsed().as_secs_f64();
        ensure!(status.success(), "/bin/true fails");
        if round % 2 == 1 { &mut with } else { &mut plain }.push(seconds);
    }
    Ok((plain, with))
}

/// Threads and drivers of a program with the library that has used large blocks and no device: there must be none.
fn quiet(library: &Path) -> Result<String> {
    let script = "x=$(printf '%20000000s' a); y=${x}${x}; ls /proc/$$/task | wc -l; grep -c hmmrt_preload /proc/$$/maps; \
                  grep -cE 'libcuda|libamdhip' /proc/$$/maps";
    let output = Command::new("bash")
        .args(["-c", script])
        .env("LD_PRELOAD", library)
        .stderr(Stdio::inherit())
        .output()
        .context("bash")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<&str> = text.split_whitespace().collect();
    let [threads, preloaded, drivers] = numbers[..] else { bail!("no numbers: {text}") };
    ensure!(preloaded != "0", "the library was not there");
    ensure!(threads == "1" && drivers == "0", "{threads} threads, {drivers} mappings of drivers");
    Ok("1 thread, no driver loaded".to_owned())
}

fn machine() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let kib: f64 = field(&read("/proc/meminfo"), "MemTotal")
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0);
    vec![
        today(),
        field(&read("/proc/cpuinfo"), "model name"),
        format!("{} cores", std::thread::available_parallelism().map_or(0, usize::from)),
        format!("{:.1} GiB", kib / f64::from(1 << 20)),
        format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        format!("load {}", read("/proc/loadavg").split(' ').next().unwrap_or_default()),
    ]
}

/// In UTC, as YYYY-MM-DD.
fn today() -> String {
    let output = Command::new("date").args(["-u", "+%F"]).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

fn write(workspace: &Workspace, all: &Value) -> Result<PathBuf> {
    let file = workspace.target.join(format!("proof/overhead-{}.json", today()));
    fs::write(&file, format!("{all:#}\n"))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::{median, ratio};

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(ratio(&[2.0], &[3.0]), 1.5);
    }
}
