//! Everything the tour prints: the machine, titles, maps, what moved, checks, the summary.
//!
//! One `Report` for the whole tour; it also counts the checks.

use std::io::IsTerminal;

use hmmrt::DeviceInfo;

use crate::map;
use crate::meter::{Meter, Moved, size};

const STAND_IN: &str = "\
The host backend stands in for a GPU: its memory is a part of RAM that the CPU code does not
touch, its kernels are threads. Pages really move and faults are real; speeds are this machine's.";

/// The printer, and the count of checks.
pub struct Report {
    colour: bool,
    chapter: usize,
    passed: usize,
    failed: usize,
    whole: Meter,
}

impl Report {
    /// Colours if this is a terminal.
    pub fn new() -> Report {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Report { colour, chapter: 0, passed: 0, failed: 0, whole: Meter::start() }
    }

    /// The device, and what it is not.
    pub fn machine(&self, info: &DeviceInfo) {
        println!(
            "libhmmrt {}, device 0: {}, backend {}, {} of {} free",
            hmmrt::version(),
            info.name,
            info.backend,
            size(info.memory_free),
            size(info.memory_total)
        );
        if info.backend == "host" {
            println!("{STAND_IN}");
        }
        println!("\nOne character for each 2 MiB chunk:   {}", map::legend(self.colour));
    }

    /// A chapter's heading.
    pub fn title(&mut self, text: &str) {
        self.chapter += 1;
        let (bold, plain) = if self.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        println!("\n{bold}{}. {text}{plain}", self.chapter);
    }

    /// Where the memory is now.
    pub fn map<T>(&self, label: &str, memory: &[T]) -> hmmrt::Result<()> {
        self.map_at(label, memory.as_ptr().cast(), size_of_val(memory))
    }

    /// The same while others write it.
    pub fn map_at(&self, label: &str, start: *const u8, len: usize) -> hmmrt::Result<()> {
        let mut label = label;
        for line in map::lines(&hmmrt_examples::signs_at(start, len)?, self.colour) {
            println!("   {label:<12}{line}");
            label = "";
        }
        Ok(())
    }

    /// What moved, and how fast so many bytes were worked on (0: no matter).
    pub fn moved(&self, moved: &Moved, bytes: usize) {
        println!(
            "   to the device {}, home {}, moved without a copy {}, faults {} (read {}, write {})",
            size(moved.to_device),
            size(moved.to_host),
            size(moved.not_copied),
            moved.read_faults + moved.write_faults,
            moved.read_faults,
            moved.write_faults
        );
        let seconds = moved.time.as_secs_f64();
        print!("   {:.1} ms", seconds * 1e3);
        if bytes > 0 {
            print!(" for {}: {:.2} GB/s", size(bytes as u64), bytes as f64 / seconds.max(1e-9) / 1e9);
        }
        println!();
    }

    /// Counts and prints one check.
    pub fn check(&mut self, what: &str, right: bool) {
        let (colour, word) = if right { ("32", "ok") } else { ("31", "WRONG") };
        *(if right { &mut self.passed } else { &mut self.failed }) += 1;
        let word = if self.colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() };
        println!("   {word}: {what}");
    }

    /// The totals. True when every check passed.
    pub fn summary(&self) -> bool {
        let (moved, stats) = (self.whole.moved(), hmmrt::stats());
        println!("\nAltogether, in {:.2} s", moved.time.as_secs_f64());
        println!("   copied to the device {:>12}", size(moved.to_device));
        println!("   copied home          {:>12}", size(moved.to_host));
        println!("   moved without a copy {:>12}", size(moved.not_copied));
        println!("   read faults          {:>12}", moved.read_faults);
        println!("   write faults         {:>12}", moved.write_faults);
        println!("   waits                {:>12}", moved.waits);
        println!(
            "   residency table      {:>12} for {} managed",
            size(stats.table_bytes),
            size(stats.managed_bytes)
        );
        println!("checks: {} right, {} wrong", self.passed, self.failed);
        self.failed == 0
    }
}
